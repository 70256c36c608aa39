import { daprTokenKey, daprTokenSecrets, metricsPath, probes, type ServiceIdentity } from "@event-flow/events";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { containerResources } from "./container-resources.ts";
import { preStopSeconds } from "./delivery.ts";
import { restrictedContainer, restrictedPod, serviceUser } from "./pod-security.ts";
import { daprMetricsPort, scrapeAnnotations } from "./scraping.ts";
import type { SecretFiles } from "./stateful-server.ts";

/** An environment variable from a secret. */
export interface SecretVariable {
  readonly secret: string;
  readonly key: string;
  /** What it's called. @default the key */
  readonly variable?: string;
}

export interface DaprServiceArgs {
  /** The namespace it runs in. */
  readonly namespace: pulumi.Input<string>;

  /** What it is called, and the port it listens on. */
  readonly identity: ServiceIdentity;

  /** The image that it runs. */
  readonly image: pulumi.Input<string>;

  /** What it gets of secrets. */
  readonly secretVariables: readonly SecretVariable[];

  /** Other environment variables. @default none */
  readonly variables?: Readonly<Record<string, pulumi.Input<string>>>;

  /** The name of the Configuration that its sidecar takes. */
  readonly configuration: pulumi.Input<string>;

  /** The revisions of what it or its sidecar reads only when they start: another one makes new pods. */
  readonly revisions: Readonly<Record<string, pulumi.Input<string>>>;

  /** Files from a secret. @default none */
  readonly files?: SecretFiles | undefined;

  /** Whether it survives the loss of a node: two pods on different nodes, of which one at least is always there. @default false */
  readonly highlyAvailable?: boolean;

  /** How it is reached from outside the cluster: through a load balancer, or not at all. @default not at all */
  readonly loadBalancer?: LoadBalancer | undefined;
}

/** A load balancer that the cloud makes for a Service, told what to be by annotations. */
export interface LoadBalancer {
  readonly annotations: Record<string, pulumi.Input<string>>;
  /** The ports that it listens on. */
  readonly ports: readonly number[];
}

/** One of the services with its Dapr sidecar. Must depend on the control plane and on the Components that it uses. */
export class DaprService extends pulumi.ComponentResource {
  /** The name of its Kubernetes Service. */
  readonly serviceName: pulumi.Output<string>;

  /** The address of its load balancer; `undefined` without one. */
  readonly address: pulumi.Output<string | undefined>;

  constructor(name: string, args: DaprServiceArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:dapr:Service", name, {}, opts);

    const { identity, namespace, variables = {}, files, highlyAvailable = false, loadBalancer } = args;
    const labels = { app: identity.name };

    const serviceAccount = new k8s.core.v1.ServiceAccount(
      `${name}-account`,
      { metadata: { name: identity.name, namespace, labels }, automountServiceAccountToken: false },
      { parent: this },
    );

    new k8s.apps.v1.Deployment(
      `${name}-deployment`,
      {
        metadata: { name: identity.name, namespace, labels },
        spec: {
          replicas: highlyAvailable ? 2 : 1,
          revisionHistoryLimit: 3,
          selector: { matchLabels: labels },
          // A new pod is ready before an old one goes.
          strategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
          template: {
            metadata: {
              labels,
              annotations: {
                ...sidecarAnnotations(identity),
                ...scrapeAnnotations(identity.port, metricsPath),
                "dapr.io/config": args.configuration,
                ...Object.fromEntries(
                  Object.entries(args.revisions).map(([of, revision]) => [`event-flow/revision-of-${of}`, revision]),
                ),
              },
            },
            spec: {
              serviceAccountName: serviceAccount.metadata.name,
              // The sidecar brings the token that it shows to Dapr's sentry along.
              automountServiceAccountToken: false,
              enableServiceLinks: false,
              terminationGracePeriodSeconds: 45,
              ...(highlyAvailable ? { topologySpreadConstraints: [onDifferentNodes(labels)] } : {}),
              securityContext: restrictedPod(serviceUser),
              containers: [
                {
                  name: identity.name,
                  image: args.image,
                  imagePullPolicy: "IfNotPresent",
                  env: [
                    ...[...args.secretVariables, ...tokenVariables(identity)].map(
                      ({ secret, key, variable = key }) => ({
                        name: variable,
                        valueFrom: { secretKeyRef: { name: secret, key } },
                      }),
                    ),
                    ...Object.entries(variables).map(([variable, value]) => ({ name: variable, value })),
                  ],
                  ports: [{ name: "http", containerPort: identity.port }],
                  startupProbe: {
                    httpGet: { path: probes.liveness, port: "http" },
                    periodSeconds: 2,
                    failureThreshold: 60,
                  },
                  livenessProbe: {
                    httpGet: { path: probes.liveness, port: "http" },
                    periodSeconds: 10,
                    timeoutSeconds: 3,
                  },
                  // It is ready when its sidecar is, too.
                  readinessProbe: {
                    httpGet: { path: probes.readiness, port: "http" },
                    periodSeconds: 3,
                    timeoutSeconds: 3,
                  },
                  lifecycle: { preStop: { sleep: { seconds: preStopSeconds } } },
                  resources: containerResources({
                    requests: { cpu: "50m", memory: "96Mi" },
                    limits: { cpu: "500m", memory: "512Mi" },
                  }),
                  securityContext: restrictedContainer,
                  volumeMounts: [
                    { name: "tmp", mountPath: "/tmp" },
                    ...(files === undefined ? [] : [{ name: "files", mountPath: files.path, readOnly: true }]),
                  ],
                },
              ],
              volumes: [
                { name: "tmp", emptyDir: { medium: "Memory", sizeLimit: "16Mi" } },
                ...(files === undefined ? [] : [{ name: "files", secret: { secretName: files.secretName } }]),
              ],
            },
          },
        },
      },
      { parent: this },
    );

    const service = new k8s.core.v1.Service(
      `${name}-service`,
      {
        metadata: {
          name: identity.name,
          namespace,
          labels,
          ...(loadBalancer === undefined ? {} : { annotations: loadBalancer.annotations }),
        },
        spec: {
          type: loadBalancer === undefined ? "ClusterIP" : "LoadBalancer",
          selector: labels,
          ports: (loadBalancer?.ports ?? [80]).map((port) => ({
            name: port === 443 ? "https" : "http",
            port,
            targetPort: "http",
          })),
        },
      },
      { parent: this },
    );

    if (highlyAvailable) {
      new k8s.policy.v1.PodDisruptionBudget(
        `${name}-budget`,
        {
          metadata: { name: identity.name, namespace, labels },
          spec: { maxUnavailable: 1, selector: { matchLabels: labels } },
        },
        { parent: this },
      );
    }

    this.serviceName = service.metadata.name;
    this.address =
      loadBalancer === undefined
        ? pulumi.output(undefined)
        : service.status.loadBalancer.ingress.apply(
            // In a preview there is no status yet, whatever the type says.
            (ingresses: { ip: string }[] | undefined) => ingresses?.[0]?.ip,
          );
    this.registerOutputs({ serviceName: this.serviceName, address: this.address });
  }
}

/** Pods of the same labels go to different nodes, as far as there are any that have room. */
function onDifferentNodes(labels: Record<string, string>): k8s.types.input.core.v1.TopologySpreadConstraint {
  return {
    maxSkew: 1,
    topologyKey: "kubernetes.io/hostname",
    whenUnsatisfiable: "ScheduleAnyway",
    labelSelector: { matchLabels: labels },
    // A rollout's new pods are spread among themselves.
    matchLabelKeys: ["pod-template-hash"],
  };
}

/** The tokens by which a service and its sidecar know each other: the injector gives them to the sidecar only. */
function tokenVariables(identity: ServiceIdentity): SecretVariable[] {
  const { api, app } = daprTokenSecrets(identity);
  return [
    { secret: api, key: daprTokenKey, variable: "DAPR_API_TOKEN" },
    { secret: app, key: daprTokenKey, variable: "APP_API_TOKEN" },
  ];
}

/** What Dapr's injector is told (https://docs.dapr.io/reference/arguments-annotations-overview/). */
export function sidecarAnnotations(identity: ServiceIdentity): Record<string, string> {
  const tokens = daprTokenSecrets(identity);
  return {
    "dapr.io/enabled": "true",
    "dapr.io/app-id": identity.appId,
    "dapr.io/app-port": String(identity.port),
    "dapr.io/app-protocol": "http",
    "dapr.io/log-level": "info",
    "dapr.io/enable-metrics": "true",
    "dapr.io/metrics-port": String(daprMetricsPort),
    "dapr.io/sidecar-cpu-request": "50m",
    "dapr.io/sidecar-cpu-limit": "200m",
    "dapr.io/sidecar-memory-request": "64Mi",
    "dapr.io/sidecar-memory-limit": "256Mi",
    // Nine tenths of the memory limit: Go then collects before the kernel kills.
    "dapr.io/env": "GOMEMLIMIT=230MiB",
    // With this the pods are "restricted" by Kubernetes' Pod Security Standards; the chart drops the capabilities.
    "dapr.io/sidecar-seccomp-profile-type": "RuntimeDefault",
    // It would need the service account's token, and Components get their secrets from the operator.
    "dapr.io/disable-builtin-k8s-secret-store": "true",
    "dapr.io/api-token-secret": tokens.api,
    "dapr.io/app-token-secret": tokens.app,
    // Its API is for the service only, the default made plain.
    "dapr.io/sidecar-listen-addresses": "[::1],127.0.0.1",
    // The sidecar takes no more events as soon as the pod ends, but publishes for the service until that is gone.
    "dapr.io/block-shutdown-duration": "10s",
    "dapr.io/graceful-shutdown-seconds": "10",
  };
}

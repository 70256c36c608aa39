import * as k8s from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import { containerResources } from "./container-resources.ts";
import { restrictedContainer, restrictedPod } from "./pod-security.ts";
import type { SecretFiles } from "./stateful-server.ts";

export interface OneTimeJobArgs {
  /** The namespace it runs in. */
  readonly namespace: pulumi.Input<string>;

  /** Its name in Kubernetes. */
  readonly jobName: string;

  /** The image that it runs. */
  readonly image: pulumi.Input<string>;

  /** The user and group that the image is made for. */
  readonly runAs: number;

  /** What it runs. What this prints last is shown by `pulumi up` when it fails. */
  readonly command: readonly string[];

  /** Its environment. */
  readonly env: pulumi.Input<k8s.types.input.core.v1.EnvVar>[];

  /** Files from a secret. @default none */
  readonly files?: SecretFiles;

  /** How often it is tried again, each time after twice as long. */
  readonly retries: number;

  /** What it was run for and is not in this spec: another value runs it again. @default none */
  readonly revision?: pulumi.Input<string>;
}

/** Something that is done once, and again whenever it has changed. What needs it done depends on it. */
export function oneTimeJob(name: string, args: OneTimeJobArgs, opts: pulumi.CustomResourceOptions): k8s.batch.v1.Job {
  const { namespace, jobName, files, runAs, revision } = args;
  return new k8s.batch.v1.Job(
    name,
    {
      metadata: {
        name: jobName,
        namespace,
        // One that failed is made anew by the next `pulumi up`, also when nothing of it has changed: what was wrong may be mended
        // elsewhere.
        annotations: { "pulumi.com/replaceUnready": "true" },
      },
      spec: {
        backoffLimit: args.retries,
        template: {
          metadata: {
            // Policies of the network know a pod by this label.
            labels: { app: jobName },
            ...(revision === undefined ? {} : { annotations: { "event-flow/revision": revision } }),
          },
          spec: {
            restartPolicy: "Never",
            automountServiceAccountToken: false,
            enableServiceLinks: false,
            securityContext: restrictedPod(runAs),
            containers: [
              {
                name: jobName,
                image: args.image,
                imagePullPolicy: "IfNotPresent",
                command: [...args.command],
                env: args.env,
                terminationMessagePolicy: "FallbackToLogsOnError",
                resources: containerResources({
                  requests: { cpu: "10m", memory: "32Mi" },
                  limits: { cpu: "1", memory: "256Mi" },
                }),
                securityContext: restrictedContainer,
                ...(files === undefined
                  ? {}
                  : { volumeMounts: [{ name: "files", mountPath: files.path, readOnly: true }] }),
              },
            ],
            ...(files === undefined ? {} : { volumes: [{ name: "files", secret: { secretName: files.secretName } }] }),
          },
        },
      },
    },
    opts,
  );
}

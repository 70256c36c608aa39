import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { type ContainerResources, containerResources } from "./container-resources.ts";
import { restrictedContainer, restrictedPod } from "./pod-security.ts";

/** A secret whose keys are files in a folder. */
export interface SecretFiles {
  readonly path: string;
  readonly secretName: pulumi.Input<string>;
}

export interface StatefulServerArgs {
  /** The namespace it runs in. */
  readonly namespace: pulumi.Input<string>;

  /** Its name in Kubernetes: of the StatefulSet, the container and the Service, by which clients reach it. */
  readonly serverName: string;

  /** The image that it runs. */
  readonly image: string;

  /** The user and group that the image is made for. */
  readonly runAs: number;

  /** The port that it serves. */
  readonly port: number;

  /** Others that it serves, by their names. @default none */
  readonly morePorts?: Readonly<Record<string, number>>;

  /** The container's arguments. @default the image's own */
  readonly args?: readonly string[];

  /** The container's environment. @default none */
  readonly env?: pulumi.Input<k8s.types.input.core.v1.EnvVar>[];

  /** Where its data is mounted. A file system of its own, so possibly with a `lost+found` in it. */
  readonly dataPath: string;

  /** Folders that it writes to besides, and that may be empty when it starts: all else of its file system is read-only. @default none */
  readonly scratch?: readonly string[];

  /** Files from a secret. @default none */
  readonly files?: SecretFiles;

  /** What the pod was made of and is not in this spec: another value makes a new pod. @default none */
  readonly madeOf?: pulumi.Input<string>;

  /** A command in the container that succeeds when the server can be used. @default its port is open */
  readonly readyWhen?: readonly string[];

  /** What it asks for, and all that it gets. */
  readonly resources: ContainerResources;
}

/** A server of one pod that keeps its data on a volume, for stack dev. The volume goes when the server does. */
export class StatefulServer extends pulumi.ComponentResource {
  /** Its address for clients in the same namespace, `<service>:<port>`; known before the server is there. */
  readonly address: string;

  constructor(name: string, args: StatefulServerArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:server:StatefulServer", name, {}, opts);

    const { serverName, namespace, port, files, scratch = [] } = args;
    const ports = Object.entries({ server: port, ...args.morePorts });
    const labels = { app: serverName };

    // The name is written out rather than taken from the Service: each waits for the other to be ready, so neither may
    // be made after the other.
    new k8s.apps.v1.StatefulSet(
      `${name}-set`,
      {
        metadata: { name: serverName, namespace, labels },
        spec: {
          serviceName: serverName,
          replicas: 1,
          selector: { matchLabels: labels },
          persistentVolumeClaimRetentionPolicy: { whenDeleted: "Delete", whenScaled: "Retain" },
          template: {
            metadata: {
              labels,
              ...(args.madeOf === undefined ? {} : { annotations: { "event-flow/made-of": args.madeOf } }),
            },
            spec: {
              automountServiceAccountToken: false,
              // Kubernetes would set KAFKA_PORT for a Service named kafka, which Kafka's image takes for a setting.
              enableServiceLinks: false,
              terminationGracePeriodSeconds: 30,
              securityContext: restrictedPod(args.runAs),
              containers: [
                {
                  name: serverName,
                  image: args.image,
                  ...(args.args === undefined ? {} : { args: [...args.args] }),
                  ...(args.env === undefined ? {} : { env: args.env }),
                  ports: ports.map(([portName, containerPort]) => ({ name: portName, containerPort })),
                  readinessProbe: {
                    ...(args.readyWhen === undefined
                      ? { tcpSocket: { port: "server" } }
                      : { exec: { command: [...args.readyWhen] } }),
                    periodSeconds: 2,
                    timeoutSeconds: 5,
                  },
                  resources: containerResources(args.resources),
                  securityContext: restrictedContainer,
                  volumeMounts: [
                    { name: "data", mountPath: args.dataPath },
                    ...scratch.map((mountPath) => ({ name: scratchName(mountPath), mountPath })),
                    ...(files === undefined ? [] : [{ name: "files", mountPath: files.path, readOnly: true }]),
                  ],
                },
              ],
              volumes: [
                ...scratch.map((path) => ({ name: scratchName(path), emptyDir: { sizeLimit: scratchSize } })),
                ...(files === undefined ? [] : [{ name: "files", secret: { secretName: files.secretName } }]),
              ],
            },
          },
          volumeClaimTemplates: [
            {
              metadata: { name: "data" },
              spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
            },
          ],
        },
      },
      { parent: this },
    );

    new k8s.core.v1.Service(
      `${name}-service`,
      {
        metadata: { name: serverName, namespace, labels },
        spec: {
          // Headless: the name leads straight to the pod, also from within it, and before it is ready, as a broker that
          // advertises its Service's name needs.
          clusterIP: "None",
          publishNotReadyAddresses: true,
          selector: labels,
          ports: ports.map(([portName, each]) => ({ name: portName, port: each, targetPort: portName })),
        },
      },
      { parent: this },
    );

    this.address = `${serverName}:${port}`;
    this.registerOutputs({ address: this.address });
  }
}

/** None of them holds more than configuration, sockets or logs of a server that stack dev has. */
const scratchSize = "64Mi";

/** A volume's name, of the path that it is mounted at. */
function scratchName(path: string): string {
  return path.replaceAll("/", "-").replace(/^-/, "");
}

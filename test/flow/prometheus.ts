/** A real Prometheus in the cluster, as somebody runs one who wants to watch the stack. */
import { parse, stringify } from "yaml";
import { z } from "zod";
import { restrictedContainer, restrictedPod } from "../../components/pod-security.ts";
import { alertsFile, monitoringLabel, prometheusConfigName, prometheusFile } from "../../components/scraping.ts";
import { hurried, hurriedIntervals, type PrometheusApi, prometheusAt } from "../servers/prometheus.ts";
import { type Access, apply, forward, kubectl } from "./access.ts";

export interface ClusterPrometheus extends PrometheusApi {
  /** Ends it and takes away all that was made for it. */
  readonly stop: () => Promise<void>;
}

const port = 9090;

/** A namespace of its own, which says that the stack's pods may be scraped from it. */
function monitoringNamespace(name: string): object {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels: monitoringLabel } };
}

/** What lets it see the stack's pods, in their namespace. */
function rights(name: string): object[] {
  const metadata = { name };
  return [
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "Role",
      metadata,
      rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"] }],
    },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "RoleBinding",
      metadata,
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name },
      subjects: [{ kind: "ServiceAccount", name, namespace: name }],
    },
  ];
}

function objects(name: string, image: string, files: Readonly<Record<string, string>>): object[] {
  const metadata = { name };
  const config = "/etc/prometheus/event-flow";
  return [
    { apiVersion: "v1", kind: "ServiceAccount", metadata },
    { apiVersion: "v1", kind: "ConfigMap", metadata, data: files },
    {
      apiVersion: "v1",
      kind: "Pod",
      metadata,
      spec: {
        serviceAccountName: name,
        terminationGracePeriodSeconds: 1,
        // Debian's users have no fixed ids; this is `nobody`, as in the official image. The namespace takes no pod with more than this.
        securityContext: restrictedPod(65534),
        containers: [
          {
            name: "prometheus",
            image,
            imagePullPolicy: "Never",
            securityContext: restrictedContainer,
            command: [
              "/usr/bin/prometheus",
              `--config.file=${config}/${prometheusFile}`,
              "--storage.tsdb.path=/data",
              `--web.listen-address=:${port}`,
            ],
            readinessProbe: { httpGet: { path: "/-/ready", port }, periodSeconds: 1 },
            volumeMounts: [
              { name: "config", mountPath: config, readOnly: true },
              { name: "data", mountPath: "/data" },
            ],
          },
        ],
        volumes: [
          { name: "config", configMap: { name } },
          { name: "data", emptyDir: {} },
        ],
      },
    },
  ];
}

async function start(
  access: Access,
  name: string,
  image: string,
  files: Readonly<Record<string, string>>,
): Promise<ClusterPrometheus> {
  const own = { ...access, namespace: name };
  await apply(access, [monitoringNamespace(name), ...rights(name)]);
  await apply(own, objects(name, image, files));
  await kubectl(own, "wait", "--for=condition=Ready", `pod/${name}`, "--timeout=120s");
  const { url, close } = await forward(own, `pod/${name}`, port);
  return {
    ...prometheusAt(url),
    stop: async () => {
      close();
      await kubectl(access, "delete", `role/${name}`, `rolebinding/${name}`, `namespace/${name}`);
    },
  };
}

const configMapSchema = z.object({ data: z.object({ [prometheusFile]: z.string(), [alertsFile]: z.string() }) });

/** The files that the program emits. They are for another namespace: a pod can mount its own one's only. */
async function emitted(access: Access): Promise<z.infer<typeof configMapSchema>["data"]> {
  const configMap = await kubectl(access, "get", "configmap", prometheusConfigName, "--output=json");
  return configMapSchema.parse(JSON.parse(configMap)).data;
}

/** One that takes what the program emits, as it is. */
export async function startPrometheus(access: Access, image: string): Promise<ClusterPrometheus> {
  return start(access, "prometheus", image, await emitted(access));
}

/** One that takes the same with all times shortened, so that nobody waits minutes for an alert. */
export async function startHurriedPrometheus(access: Access, image: string): Promise<ClusterPrometheus> {
  const files = await emitted(access);
  const scraping = parse(files[prometheusFile]) as object;
  return start(access, "prometheus-hurried", image, {
    [prometheusFile]: stringify({ ...scraping, global: hurriedIntervals }),
    [alertsFile]: stringify(hurried(parse(files[alertsFile]))),
  });
}

/** A real Prometheus in the cluster, as somebody runs one who wants to watch the stack. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { restrictedContainer, restrictedPod } from "../../components/pod-security.ts";
import { alertsFile, prometheusConfigName, prometheusFile } from "../../components/scraping.ts";
import { hurried, hurriedIntervals, type PrometheusApi, prometheusAt } from "../servers/prometheus.ts";
import { type Access, forward, kubectl } from "./access.ts";

export interface ClusterPrometheus extends PrometheusApi {
  /** Ends it and takes away all that was made for it. */
  readonly stop: () => Promise<void>;
}

const port = 9090;

/** What a Prometheus needs of a cluster to take the program's ConfigMap as it is: to be in its namespace, and to see pods. */
function objects(name: string, image: string, configMap: string): object[] {
  const metadata = { name, labels: { app: name } };
  const config = "/etc/prometheus/event-flow";
  return [
    { apiVersion: "v1", kind: "ServiceAccount", metadata },
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
      subjects: [{ kind: "ServiceAccount", name }],
    },
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
          { name: "config", configMap: { name: configMap } },
          { name: "data", emptyDir: {} },
        ],
      },
    },
  ];
}

async function apply(access: Access, items: readonly object[]): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "event-flow-prometheus-"));
  try {
    const file = join(dir, "objects.json");
    writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "List", items }));
    await kubectl(access, "apply", `--filename=${file}`);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

async function start(access: Access, name: string, made: readonly object[]): Promise<ClusterPrometheus> {
  await apply(access, made);
  await kubectl(access, "wait", "--for=condition=Ready", `pod/${name}`, "--timeout=120s");
  const { url, close } = await forward(access, `pod/${name}`, port);
  return {
    ...prometheusAt(url),
    stop: async () => {
      close();
      const kinds = "pod,rolebinding,role,serviceaccount,configmap";
      await kubectl(access, "delete", kinds, `--selector=app=${name}`);
    },
  };
}

/** One that takes what the program emits, as it is. */
export function startPrometheus(access: Access, image: string): Promise<ClusterPrometheus> {
  const name = "prometheus";
  return start(access, name, objects(name, image, prometheusConfigName));
}

const configMapSchema = z.object({ data: z.object({ [prometheusFile]: z.string(), [alertsFile]: z.string() }) });

/** One that takes the same with all times shortened, so that nobody waits minutes for an alert. */
export async function startHurriedPrometheus(access: Access, image: string): Promise<ClusterPrometheus> {
  const name = "prometheus-hurried";
  const emitted = await kubectl(access, "get", "configmap", prometheusConfigName, "--output=json");
  const { data } = configMapSchema.parse(JSON.parse(emitted));
  const scraping = parse(data[prometheusFile]) as object;
  const configMap = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name, labels: { app: name } },
    data: {
      [prometheusFile]: stringify({ ...scraping, global: hurriedIntervals }),
      [alertsFile]: stringify(hurried(parse(data[alertsFile]))),
    },
  };
  return start(access, name, [configMap, ...objects(name, image, name)]);
}

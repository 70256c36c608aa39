import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import * as tools from "../tools/go-tools.ts";
import { toolDir } from "../tools/index.ts";
import { pauseImage } from "./images.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { type Layout } from "./layout.ts";
import { inNamespace, policyQueues } from "./network.ts";
import { type ControlGroup } from "./processes.ts";

export const containerdSocket = (cluster: Layout): string => join(cluster.dir, "containerd", "containerd.sock");

/** What containerd and kubelet forget when they stop: mounts, sockets, network namespaces of pods. */
export const stateDir = (cluster: Layout): string => join(cluster.dir, "containerd", "state");

function writeContainerdConfig(cluster: Layout): string {
  const dir = join(cluster.dir, "containerd");
  const networks = join(cluster.dir, "cni");
  mkdirSync(networks, { recursive: true });
  mkdirSync(dir, { recursive: true });
  writeFileSync(
    join(networks, "10-event-flow.conflist"),
    JSON.stringify({
      cniVersion: "0.4.0",
      name: cluster.id,
      plugins: [
        {
          // Not `bridge`: pods are few, and a route for each needs no module of the kernel.
          type: "ptp",
          ipam: {
            type: "host-local",
            ranges: [[{ subnet: cluster.podRange }]],
            routes: [{ dst: "0.0.0.0/0" }],
            dataDir: join(stateDir(cluster), "addresses"),
          },
        },
      ],
    }),
  );
  const config = join(dir, "config.toml");
  writeFileSync(
    config,
    `version = 2
root = "${join(dir, "root")}"
state = "${stateDir(cluster)}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
  address = "${containerdSocket(cluster)}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseImage}"
  # Without the capability SYS_RESOURCE (a container, some virtual machines) no process may lower its score.
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = "${stateDir(cluster)}/runc"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${networks}"
`,
  );
  return config;
}

function writeKubeletConfig(cluster: Layout): string {
  const path = join(cluster.dir, "kubelet.yaml");
  const enough = "1%";
  writeFileSync(
    path,
    stringify({
      apiVersion: "kubelet.config.k8s.io/v1beta1",
      kind: "KubeletConfiguration",
      authentication: { anonymous: { enabled: false }, x509: { clientCAFile: join(cluster.pki, "ca.crt") } },
      authorization: { mode: "Webhook" },
      tlsCertFile: join(cluster.pki, "kubelet.crt"),
      tlsPrivateKeyFile: join(cluster.pki, "kubelet.key"),
      cgroupDriver: "cgroupfs",
      cgroupRoot: `/${cluster.id}`,
      containerRuntimeEndpoint: `unix://${containerdSocket(cluster)}`,
      clusterDomain: "cluster.local",
      clusterDNS: [cluster.dnsAddress],
      // Pods ask the cluster's DNS only: there is no way out of the namespace.
      resolvConf: "",
      failCgroupV1: false,
      failSwapOn: false,
      // Images come from no registry: what is collected can't be fetched again.
      imageGCHighThresholdPercent: 100,
      evictionHard: {
        "memory.available": "100Mi",
        "nodefs.available": enough,
        "nodefs.inodesFree": enough,
        "imagefs.available": enough,
      },
      // Most of Dapr's own pods start with a volume that is filled later, and kubelet looks but every minute whether it was.
      syncFrequency: "5s",
      podLogsDir: join(cluster.dir, "pod-logs"),
      volumePluginDir: join(cluster.dir, "volume-plugins"),
      serializeImagePulls: false,
    }),
  );
  return path;
}

function writeProxyConfig(cluster: Layout, kubeconfig: string): string {
  const path = join(cluster.dir, "kube-proxy.yaml");
  writeFileSync(
    path,
    stringify({
      apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
      kind: "KubeProxyConfiguration",
      mode: "iptables",
      clientConnection: { kubeconfig },
      clusterCIDR: cluster.podRange,
      hostnameOverride: cluster.id,
      // Left as the machine has it: a namespace may not change the limits of connection tracking.
      conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
    }),
  );
  return path;
}

function starter(cluster: Layout, group: ControlGroup) {
  mkdirSync(cluster.logs, { recursive: true });
  return (name: string, program: string, args: readonly string[]): void => {
    group.start(inNamespace(cluster, [program, ...args]), join(cluster.logs, `${name}.log`));
  };
}

/** Starts kubelet, which gives up at once where containerd doesn't serve yet. */
export function startKubelet(cluster: Layout, group: ControlGroup): void {
  starter(cluster, group)("kubelet", join(toolDir(tools.kubernetes), "kubelet"), [
    `--config=${writeKubeletConfig(cluster)}`,
    `--kubeconfig=${writeKubeconfig(cluster, "kubelet")}`,
    `--root-dir=${join(cluster.dir, "kubelet")}`,
    `--hostname-override=${cluster.id}`,
    `--node-ip=${cluster.nodeAddress}`,
  ]);
}

/** Starts containerd and every other part of Kubernetes, each with a log of its own; they find each other in their own time. */
export function startParts(cluster: Layout, group: ControlGroup): void {
  const kubernetes = toolDir(tools.kubernetes);
  const pki = (file: string) => join(cluster.pki, file);
  const kubeconfig = (identity: string) => writeKubeconfig(cluster, identity);
  const start = starter(cluster, group);

  start("etcd", join(toolDir(tools.etcd), "server"), [
    `--data-dir=${join(cluster.dir, "etcd")}`,
    "--listen-client-urls=http://127.0.0.1:2379",
    "--advertise-client-urls=http://127.0.0.1:2379",
    "--listen-peer-urls=http://127.0.0.1:2380",
    // Its processes can be killed without losing a write; only a crash of the whole machine could, and then `down` starts over.
    "--unsafe-no-fsync",
    "--log-level=warn",
  ]);
  start("containerd", "containerd", ["--config", writeContainerdConfig(cluster)]);
  start("kube-apiserver", join(kubernetes, "kube-apiserver"), [
    "--etcd-servers=http://127.0.0.1:2379",
    `--advertise-address=${cluster.nodeAddress}`,
    `--service-cluster-ip-range=${cluster.serviceRange}`,
    "--authorization-mode=Node,RBAC",
    "--enable-admission-plugins=NodeRestriction",
    "--allow-privileged=true",
    `--client-ca-file=${pki("ca.crt")}`,
    `--tls-cert-file=${pki("apiserver.crt")}`,
    `--tls-private-key-file=${pki("apiserver.key")}`,
    // Node names are no names of this machine's DNS.
    "--kubelet-preferred-address-types=InternalIP",
    `--kubelet-certificate-authority=${pki("ca.crt")}`,
    `--kubelet-client-certificate=${pki("apiserver-kubelet-client.crt")}`,
    `--kubelet-client-key=${pki("apiserver-kubelet-client.key")}`,
    "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    `--service-account-key-file=${pki("service-accounts.pub")}`,
    `--service-account-signing-key-file=${pki("service-accounts.key")}`,
  ]);
  start("kube-controller-manager", join(kubernetes, "kube-controller-manager"), [
    `--kubeconfig=${kubeconfig("controller-manager")}`,
    "--use-service-account-credentials",
    `--root-ca-file=${pki("ca.crt")}`,
    `--service-account-private-key-file=${pki("service-accounts.key")}`,
    "--leader-elect=false",
  ]);
  start("kube-scheduler", join(kubernetes, "kube-scheduler"), [
    `--kubeconfig=${kubeconfig("scheduler")}`,
    "--leader-elect=false",
  ]);
  start("storage-provisioner", join(toolDir(tools.storageProvisioner), "storage-provisioner"), [
    cluster.kubeconfig,
    join(cluster.dir, "volumes"),
  ]);
  start("kube-network-policies", join(toolDir(tools.kubeNetworkPolicies), "kube-network-policies"), [
    cluster.kubeconfig,
    cluster.id,
    cluster.podRange,
    String(policyQueues.first),
    String(policyQueues.second),
  ]);
  const proxyConfig = writeProxyConfig(cluster, kubeconfig("kube-proxy"));
  start("kube-proxy", join(kubernetes, "kube-proxy"), [`--config=${proxyConfig}`]);
}

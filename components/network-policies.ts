import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";

type Peer = k8s.types.input.networking.v1.NetworkPolicyPeer;
type Spec = k8s.types.input.networking.v1.NetworkPolicySpec;

/** Pods of the namespace: all of them, or those of some `app` labels. */
export type Pods = "all" | readonly string[];

/**
 * A way that connections may take. Answers come back by it; the other direction is another way. A pod is one: whatever is allowed to a
 * service is allowed to its sidecar, and the other way round.
 */
export interface Way {
  /** What the policies that open it are named by. */
  readonly name: string;

  /** Who opens connections: pods of the namespace, or others. */
  readonly from: { readonly pods: Pods } | { readonly others: Others };

  /** Where they lead: to pods of the namespace, or to others. */
  readonly to: { readonly pods: Pods } | { readonly others: Others };

  /** The ports of what they lead to: a pod's own, not those of a Service before it. */
  readonly ports: readonly pulumi.Input<number>[];

  /** By what. @default TCP */
  readonly protocols?: readonly ("TCP" | "UDP")[];
}

/** Who isn't of the namespace: certain ones, or anybody. */
export type Others = "anybody" | readonly Peer[];

/** A NetworkPolicy, without its namespace. */
export interface Policy {
  readonly name: string;
  readonly spec: Spec;
}

/** Nothing gets to a pod of the namespace nor out of it, unless another policy says so. */
export const denyAll: Policy = {
  name: "deny-all",
  spec: { podSelector: {}, policyTypes: ["Ingress", "Egress"] },
};

/** What opens a way: at the pods that it starts from, and at those that it leads to. */
export function policiesOf(way: Way): Policy[] {
  const { name, from, to, protocols = ["TCP"] } = way;
  const ports = way.ports.flatMap((port) => protocols.map((protocol) => ({ port, protocol })));
  const policies: Policy[] = [];
  if ("pods" in from) {
    const peers = peersOf(to);
    policies.push({
      name: `to-${name}`,
      spec: {
        podSelector: select(from.pods),
        policyTypes: ["Egress"],
        egress: [{ ports, ...(peers === undefined ? {} : { to: peers }) }],
      },
    });
  }
  if ("pods" in to) {
    const peers = peersOf(from);
    policies.push({
      name: `into-${name}`,
      spec: {
        podSelector: select(to.pods),
        policyTypes: ["Ingress"],
        ingress: [{ ports, ...(peers === undefined ? {} : { from: peers }) }],
      },
    });
  }
  return policies;
}

function select(pods: Pods): k8s.types.input.meta.v1.LabelSelector {
  return pods === "all" ? {} : { matchExpressions: [{ key: "app", operator: "In", values: [...pods] }] };
}

/** `undefined` for anybody: a policy without peers. */
function peersOf(end: Way["from"]): Peer[] | undefined {
  if ("pods" in end) return [{ podSelector: select(end.pods) }];
  return end.others === "anybody" ? undefined : [...end.others];
}

/** Pods of a namespace that isn't ours. */
export function podsElsewhere(namespace: string, labels: Record<string, string>): Peer {
  return {
    namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } },
    podSelector: { matchLabels: labels },
  };
}

/**
 * Whatever the network routes to, but for what a cloud tells its own machines (keys among it) at link-local addresses. Whether pods
 * are among these addresses is up to what enforces policies.
 */
export const outside: readonly Peer[] = [
  { ipBlock: { cidr: "0.0.0.0/0", except: ["169.254.0.0/16"] } },
  { ipBlock: { cidr: "::/0", except: ["fe80::/10", "fd00:ec2::/32"] } },
];

/** The Internet, and no network of one's own, nor addresses that stand for others. */
export const internet: readonly Peer[] = [
  {
    ipBlock: {
      cidr: "0.0.0.0/0",
      except: [
        ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"],
        ...["192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"],
        ...["198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"],
      ],
    },
  },
  { ipBlock: { cidr: "2000::/3", except: ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"] } },
];

export interface NetworkPoliciesArgs {
  /** The namespace whose pods are isolated. */
  readonly namespace: pulumi.Input<string>;

  /** The only ways in and out. */
  readonly ways: readonly Way[];
}

/**
 * Isolates the pods of a namespace, in and out, and opens the ways that they need. Pods must depend on it: one that starts before its
 * policies is open to all, or waits for what it needs.
 */
export class NetworkPolicies extends pulumi.ComponentResource {
  /** The names of the policies. */
  readonly names: readonly string[];

  constructor(name: string, args: NetworkPoliciesArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:network:NetworkPolicies", name, {}, opts);

    const { namespace, ways } = args;
    const policies = [denyAll, ...ways.flatMap(policiesOf)];
    for (const policy of policies) emit(name, namespace, policy, { parent: this });

    this.names = policies.map((policy) => policy.name);
    this.registerOutputs({ names: this.names });
  }
}

/** Opens one way more, to something whose address is known only when it's made. */
export function openWay(
  name: string,
  args: { readonly namespace: pulumi.Input<string>; readonly way: Way },
  opts: pulumi.CustomResourceOptions,
): k8s.networking.v1.NetworkPolicy[] {
  return policiesOf(args.way).map((policy) => emit(name, args.namespace, policy, opts));
}

function emit(
  name: string,
  namespace: pulumi.Input<string>,
  policy: Policy,
  opts: pulumi.CustomResourceOptions,
): k8s.networking.v1.NetworkPolicy {
  return new k8s.networking.v1.NetworkPolicy(
    `${name}-${policy.name}`,
    { metadata: { name: policy.name, namespace }, spec: policy.spec },
    opts,
  );
}

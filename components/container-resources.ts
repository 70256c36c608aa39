export interface ContainerResources {
  readonly requests: { readonly cpu: string; readonly memory: string };
  readonly limits: { readonly cpu: string; readonly memory: string };
}

/**
 * What a container asks of its node, and all that it gets: with the node's disk, which its logs (five files of 10 MiB, by kubelet's
 * default) and its volumes for scratch could fill up for all others.
 */
export function containerResources({ requests, limits }: ContainerResources) {
  return {
    requests: { ...requests, "ephemeral-storage": "64Mi" },
    limits: { ...limits, "ephemeral-storage": "512Mi" },
  };
}

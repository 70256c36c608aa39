import type { Finding } from "./tools.ts";

/** A rule of kube-score that is not kept, and why. The README shows these. */
export interface Ignored {
  readonly check: string;
  /** The objects that need not keep it, by `<kind> <name>`. */
  readonly objects: RegExp;
  readonly because: string;
}

export const ignored: readonly Ignored[] = [
  {
    check: "container-image-pull-policy",
    objects: /^/,
    because:
      "asks for `Always`. Images are named by their content or pinned, so that the one on a node is the right one; pods then start without the registry, and images built into Minikube are in none",
  },
  {
    check: "container-security-context-user-group-id",
    objects: /^(StatefulSet \S+|Job postgres-\S+)$/,
    because:
      "asks for ids above 10,000. The official images of PostgreSQL, Valkey, Kafka, Redpanda and MailDev are made for lower ones, to which their files and data belong",
  },
];

/** What is to be mended: what is not ignored. */
export function notIgnored(findings: readonly Finding[]): Finding[] {
  return findings.filter(
    ({ check, object }) => !ignored.some((each) => each.check === check && each.objects.test(object)),
  );
}

import { daprTokenKey, daprTokenSecrets, type ServiceIdentity } from "@event-flow/events";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import { VersionedSecret } from "./versioned-secret.ts";

export interface DaprTokensArgs {
  /** The namespace of the service. */
  readonly namespace: pulumi.Input<string>;

  /** Whose they are. */
  readonly identity: ServiceIdentity;
}

/** The tokens by which one service and its sidecar know each other (https://docs.dapr.io/operations/security/). */
export class DaprTokens extends pulumi.ComponentResource {
  /** The revisions of their secrets, by name: the service and its sidecar read them only when they start. */
  readonly revisions: Readonly<Record<string, pulumi.Output<string>>>;

  constructor(name: string, args: DaprTokensArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:dapr:Tokens", name, {}, opts);

    const made = Object.entries(daprTokenSecrets(args.identity)).map(([use, secretName]) => {
      const token = new random.RandomPassword(`${name}-${use}-token`, { length: 64, special: false }, { parent: this });
      const secret = new VersionedSecret(
        `${name}-${use}`,
        { namespace: args.namespace, secretName, data: { [daprTokenKey]: token.result } },
        { parent: this },
      );
      return [secretName, secret.revision] as const;
    });

    this.revisions = Object.fromEntries(made);
    this.registerOutputs({ revisions: this.revisions });
  }
}

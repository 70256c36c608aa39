import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import { createHmac } from "node:crypto";

export interface VersionedSecretArgs {
  /** The namespace it is in. */
  readonly namespace: pulumi.Input<string>;

  /** Its name in Kubernetes. */
  readonly secretName: string;

  /** Its keys and their values. */
  readonly data: Readonly<Record<string, pulumi.Input<string>>>;
}

/** A Kubernetes secret that whoever reads it only at its start can tell a change of: in a pod's annotation, say. */
export class VersionedSecret extends pulumi.ComponentResource {
  /** Its name in Kubernetes. */
  readonly secretName: pulumi.Output<string>;

  /** The same exactly as long as the values are. No secret, and of no help to someone who guesses at the values. */
  readonly revision: pulumi.Output<string>;

  constructor(name: string, args: VersionedSecretArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:secrets:VersionedSecret", name, {}, opts);

    // A plain hash of a weak password can be guessed from; one with a key that only Pulumi has can't.
    const key = new random.RandomPassword(`${name}-key`, { length: 32, special: false }, { parent: this });

    const secret = new k8s.core.v1.Secret(
      `${name}-secret`,
      { metadata: { name: args.secretName, namespace: args.namespace }, stringData: args.data },
      { parent: this },
    );

    this.secretName = secret.metadata.name;
    // The secret's id is in it so that nobody has the new revision before the secret has the new values.
    this.revision = pulumi.unsecret(
      pulumi.all([key.result, pulumi.output(args.data), secret.id]).apply(([hmacKey, data]) =>
        createHmac("sha256", hmacKey)
          .update(JSON.stringify(Object.entries(data).sort()))
          .digest("hex")
          .slice(0, 16),
      ),
    );
    this.registerOutputs({ secretName: this.secretName, revision: this.revision });
  }
}

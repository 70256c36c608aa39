import { secrets } from "@event-flow/events";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";

export interface AppSecretsArgs {
  /** The namespace of the services. */
  readonly namespace: pulumi.Input<string>;

  /** Where the backend's database is, with the password. */
  readonly databaseUrl: pulumi.Input<string>;
}

/** The secret values that the services themselves need. */
export class AppSecrets extends pulumi.ComponentResource {
  /** Another value when one of the secret values changed. Pods read them only when they start. */
  readonly revision: pulumi.Output<string>;

  constructor(name: string, args: AppSecretsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:secrets:AppSecrets", name, {}, opts);

    const { name: secretName, keys } = secrets.todo;
    const jwtSecret = new random.RandomPassword(`${name}-jwt`, { length: 64, special: false }, { parent: this });
    const secret = new k8s.core.v1.Secret(
      `${name}-todo`,
      {
        metadata: { name: secretName, namespace: args.namespace },
        stringData: { [keys.databaseUrl]: args.databaseUrl, [keys.jwtSecret]: jwtSecret.result },
      },
      { parent: this },
    );

    // Pulumi replaces a Kubernetes secret whose data changes, so its uid says as much as a hash of the data would, and
    // nothing about the data.
    this.revision = secret.metadata.uid;
    this.registerOutputs({ revision: this.revision });
  }
}

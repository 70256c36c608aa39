import { secrets } from "@event-flow/events";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import { VersionedSecret } from "./versioned-secret.ts";

export interface AppSecretsArgs {
  /** The namespace of the services. */
  readonly namespace: pulumi.Input<string>;

  /** Where the backend's database is, with the password. */
  readonly databaseUrl: pulumi.Input<string>;
}

/** The secret values that the services themselves need. */
export class AppSecrets extends pulumi.ComponentResource {
  /** Another value when one of the secret values changed. */
  readonly revision: pulumi.Output<string>;

  constructor(name: string, args: AppSecretsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:secrets:AppSecrets", name, {}, opts);

    const { name: secretName, keys } = secrets.todo;
    const jwtSecret = new random.RandomPassword(`${name}-jwt`, { length: 64, special: false }, { parent: this });
    const vapidSecret = new random.RandomPassword(`${name}-vapid`, { length: 64, special: false }, { parent: this });
    const secret = new VersionedSecret(
      `${name}-todo`,
      {
        namespace: args.namespace,
        secretName,
        data: {
          [keys.databaseUrl]: args.databaseUrl,
          [keys.jwtSecret]: jwtSecret.result,
          [keys.vapidSecret]: vapidSecret.result,
        },
      },
      { parent: this },
    );

    this.revision = secret.revision;
    this.registerOutputs({ revision: this.revision });
  }
}

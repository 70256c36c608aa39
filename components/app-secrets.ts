import { secrets } from "@event-flow/events";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import { VersionedSecret } from "./versioned-secret.ts";

export interface AppSecretsArgs {
  /** The namespace of the services. */
  readonly namespace: pulumi.Input<string>;

  /** Where the backend's database is, with the password. */
  readonly databaseUrl: pulumi.Input<string>;

  /** Where the analytics service's database is, with the password. */
  readonly analyticsUrl: pulumi.Input<string>;

  /**
   * Which key signs users' tokens, counted from 1. One more makes a new key, and keeps the one before for the tokens that it signed.
   * @default 1
   */
  readonly jwtKeyGeneration?: number;
}

/** The secret values that the services themselves need. */
export class AppSecrets extends pulumi.ComponentResource {
  /** Another value when one of the secret values changed that are for all. */
  readonly revision: pulumi.Output<string>;

  /** The same of what is for the analytics service only. */
  readonly analyticsRevision: pulumi.Output<string>;

  /** The same of the token by which the backend knows the recurring-task service. */
  readonly nextTaskRevision: pulumi.Output<string>;

  constructor(name: string, args: AppSecretsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:secrets:AppSecrets", name, {}, opts);

    const { name: secretName, keys } = secrets.todo;
    const generation = args.jwtKeyGeneration ?? 1;
    const jwtKey = (nth: number) => {
      // The first had its name before there were more.
      const suffix = nth === 1 ? "" : `-${nth}`;
      return new random.RandomPassword(`${name}-jwt${suffix}`, { length: 64, special: false }, { parent: this }).result;
    };
    const vapidSecret = new random.RandomPassword(`${name}-vapid`, { length: 64, special: false }, { parent: this });
    const secret = new VersionedSecret(
      `${name}-todo`,
      {
        namespace: args.namespace,
        secretName,
        data: {
          [keys.databaseUrl]: args.databaseUrl,
          [keys.jwtSecret]: jwtKey(generation),
          ...(generation > 1 && { [keys.jwtSecretPrevious]: jwtKey(generation - 1) }),
          [keys.vapidSecret]: vapidSecret.result,
        },
      },
      { parent: this },
    );
    const { analytics } = secrets;
    const analyticsSecret = new VersionedSecret(
      `${name}-analytics`,
      {
        namespace: args.namespace,
        secretName: analytics.name,
        data: { [analytics.keys.databaseUrl]: args.analyticsUrl },
      },
      { parent: this },
    );

    // In a secret of its own: the other services have no business with it.
    const nextTaskToken = new random.RandomPassword(
      `${name}-next-task-token`,
      { length: 64, special: false },
      { parent: this },
    );
    const nextTaskSecret = new VersionedSecret(
      `${name}-next-task`,
      {
        namespace: args.namespace,
        secretName: secrets.nextTask.name,
        data: { [secrets.nextTask.keys.token]: nextTaskToken.result },
      },
      { parent: this },
    );

    this.revision = secret.revision;
    this.analyticsRevision = analyticsSecret.revision;
    this.nextTaskRevision = nextTaskSecret.revision;
    this.registerOutputs({
      revision: this.revision,
      analyticsRevision: this.analyticsRevision,
      nextTaskRevision: this.nextTaskRevision,
    });
  }
}

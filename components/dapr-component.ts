import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { topicScopes } from "./dapr-access.ts";
import { kafkaDelivery } from "./delivery.ts";
import { manifestRevision } from "./manifest-revision.ts";
import type { SaslMechanism } from "./settings.ts";

/** A key of a Kubernetes secret in the Component's namespace. Dapr's operator resolves it; the sidecar needs no right. */
export interface SecretKey {
  readonly name: pulumi.Input<string>;
  readonly key: string;
}

/** One entry of a Component's `spec.metadata`: a value as it is, or where it is kept. */
export type MetadataItem =
  | { readonly name: string; readonly value: pulumi.Input<string> }
  | { readonly name: string; readonly secretKeyRef: SecretKey };

/** How to reach a Kafka-compatible broker. */
export interface BrokerConnection {
  /** The bootstrap servers, each as `host:port`. */
  readonly brokers: pulumi.Input<readonly string[]>;

  /** How clients say who they are. `none` is also plaintext; with a password, TLS is on. */
  readonly auth: { readonly type: "none" } | SaslAuth;
}

/** A SASL user, by TLS. */
export interface SaslAuth {
  readonly type: "password";
  readonly username: SecretKey;
  readonly password: SecretKey;
  /** The mechanism, by the name that brokers have for it. */
  readonly mechanism: SaslMechanism;
  /** A CA of the brokers' own, in PEM; `undefined` where theirs is public. */
  readonly ca: string | undefined;
}

/** How to reach a Redis-compatible server. */
export interface RedisConnection {
  /** Its address, as `host:port`. */
  readonly host: SecretKey;

  /** The default user's password. */
  readonly password: SecretKey;

  /** Whether it is spoken to by TLS. Its certificate is then checked against the public roots. */
  readonly tls: boolean;
}

/** The metadata of `pubsub.kafka` (https://docs.dapr.io/reference/components-reference/supported-pubsub/setup-apache-kafka/). */
export function kafkaMetadata(connection: BrokerConnection): MetadataItem[] {
  return [
    { name: "brokers", value: pulumi.output(connection.brokers).apply((brokers) => brokers.join(",")) },
    // Dapr's template for the sidecar's app: the broker's logs and quotas then tell the services apart.
    { name: "clientID", value: "{appID}" },
    // No `consumerGroup`: Dapr then takes the app id, one group for each service.
    ...kafkaDelivery,
    ...topicScopes,
    { name: "authType", value: connection.auth.type },
    ...saslMetadata(connection.auth),
  ];
}

function saslMetadata(auth: BrokerConnection["auth"]): MetadataItem[] {
  switch (auth.type) {
    case "none":
      return [];
    case "password":
      return [
        { name: "saslUsername", secretKeyRef: auth.username },
        { name: "saslPassword", secretKeyRef: auth.password },
        // Dapr has names of its own, and takes any other for PLAIN.
        { name: "saslMechanism", value: daprMechanisms[auth.mechanism] },
        ...(auth.ca === undefined ? [] : [{ name: "caCert", value: auth.ca }]),
      ];
  }
}

const daprMechanisms: Record<SaslMechanism, string> = { "SCRAM-SHA-256": "SHA-256", "SCRAM-SHA-512": "SHA-512" };

/** The metadata of `state.redis` (https://docs.dapr.io/reference/components-reference/supported-state-stores/setup-redis/). */
export function redisMetadata(connection: RedisConnection): MetadataItem[] {
  return [
    { name: "redisHost", secretKeyRef: connection.host },
    { name: "redisPassword", secretKeyRef: connection.password },
    { name: "enableTLS", value: String(connection.tls) },
    { name: "actorStateStore", value: "true" },
  ];
}

/** How to reach a mail server. */
export interface SmtpConnection {
  readonly host: string;

  /** By 465 it is spoken to by TLS; by another, TLS begins as soon as the server offers it (STARTTLS). */
  readonly port: number;

  /** Who the mail is from. */
  readonly from: string;

  /** Who the services are for it; `undefined` where it asks for nobody. */
  readonly auth: { readonly user: SecretKey; readonly password: SecretKey } | undefined;
}

/** The metadata of `bindings.smtp` (https://docs.dapr.io/reference/components-reference/supported-bindings/smtp/). */
export function smtpMetadata({ host, port, from, auth }: SmtpConnection): MetadataItem[] {
  return [
    { name: "host", value: host },
    { name: "port", value: String(port) },
    { name: "emailFrom", value: from },
    ...(auth === undefined
      ? []
      : [
          { name: "user", secretKeyRef: auth.user },
          { name: "password", secretKeyRef: auth.password },
        ]),
  ];
}

export interface DaprComponentArgs {
  /** The namespace whose sidecars load the Component. */
  readonly namespace: pulumi.Input<string>;

  /** The name that the services use it by. */
  readonly componentName: string;

  /** What kind of Component it is. */
  readonly type: "pubsub.kafka" | "state.redis" | "bindings.smtp";

  /** How it is set up. */
  readonly metadata: readonly MetadataItem[];

  /** The app ids that may use it. */
  readonly scopes: readonly string[];
}

/** A building block that sidecars load (https://docs.dapr.io/concepts/components-concept/). */
export class DaprComponent extends pulumi.ComponentResource {
  /** The name that the services use it by. */
  readonly componentName: pulumi.Output<string>;

  /** The same exactly as long as its setting up is. Sidecars read that only when they start. */
  readonly revision: pulumi.Output<string>;

  constructor(name: string, args: DaprComponentArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:dapr:Component", name, {}, opts);

    const manifest = new k8s.apiextensions.CustomResource(
      `${name}-manifest`,
      {
        apiVersion: "dapr.io/v1alpha1",
        kind: "Component",
        metadata: { name: args.componentName, namespace: args.namespace },
        spec: { type: args.type, version: "v1", metadata: args.metadata },
        scopes: args.scopes,
      },
      { parent: this },
    );

    this.componentName = manifest.metadata.name;
    this.revision = manifestRevision([args.metadata, args.scopes], manifest);
    this.registerOutputs({ componentName: this.componentName, revision: this.revision });
  }
}

import { secrets } from "@event-flow/events";
import * as pulumi from "@pulumi/pulumi";
import type { Site } from "./cluster.ts";
import type { SmtpConnection } from "./dapr-component.ts";
import { StatefulServer } from "./stateful-server.ts";
import { VersionedSecret } from "./versioned-secret.ts";
import { images } from "./versions.ts";

export interface MailArgs {
  /** What it is made of. */
  readonly site: Site;

  /** The namespace of the services. */
  readonly namespace: pulumi.Input<string>;
}

/** What takes the services' e-mail: a mail server, if there is one. */
export class Mail extends pulumi.ComponentResource {
  /** How to reach it; `undefined` without one. */
  readonly connection: SmtpConnection | undefined;

  /** Another value when its credentials changed; `undefined` when there are none. */
  readonly revision: pulumi.Output<string> | undefined;

  constructor(name: string, args: MailArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:mail:Mail", name, {}, opts);

    const { site, namespace } = args;
    switch (site.environment) {
      case "dev":
        // It passes nothing on: whatever address a mail is for, it is to be seen there.
        new StatefulServer(
          `${name}-server`,
          {
            namespace,
            ...mailServer,
            image: images.maildev,
            runAs: 1000,
            morePorts: { web: webPort },
            env: Object.entries({
              MAILDEV_SMTP_PORT: String(mailServer.port),
              MAILDEV_WEB_PORT: String(webPort),
              MAILDEV_MAIL_DIRECTORY: dataPath,
              MAILDEV_MAX_EMAILS: "1000",
            }).map(([variable, value]) => ({ name: variable, value })),
            dataPath,
            scratch: ["/tmp"],
            resources: { requests: { cpu: "20m", memory: "128Mi" }, limits: { cpu: "1", memory: "384Mi" } },
          },
          { parent: this },
        );
        this.connection = {
          ...{ host: mailServer.serverName, port: mailServer.port },
          from: "event-flow@example.com",
          auth: undefined,
        };
        this.revision = undefined;
        break;
      case "prod": {
        const { smtp } = site.settings;
        if (smtp === undefined) break;
        const { host, port, from, auth } = smtp;
        if (auth === undefined) {
          this.connection = { host, port, from, auth };
          break;
        }
        const { name: secretName, keys } = secrets.smtp;
        const secret = new VersionedSecret(
          `${name}-credentials`,
          { namespace, secretName, data: { [keys.user]: auth.user, [keys.password]: auth.password } },
          { parent: this },
        );
        this.connection = {
          ...{ host, port, from },
          auth: { user: { name: secretName, key: keys.user }, password: { name: secretName, key: keys.password } },
        };
        this.revision = secret.revision;
        break;
      }
    }

    this.registerOutputs({ connection: this.connection, revision: this.revision });
  }
}

/** The server of stack dev. */
export const mailServer = { serverName: "maildev", port: 1025 } as const;
const webPort = 1080;
const dataPath = "/var/lib/maildev";

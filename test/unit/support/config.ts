import path from "node:path";
import { perService, services } from "@event-flow/events";

/** A file or folder in `fixtures/`. */
export const fixture = (name: string) => path.join(import.meta.dirname, "..", "fixtures", name);

/** A config for stack dev that needs no Minikube, no network and no sources. */
export const devConfig = {
  "event-flow:environment": "dev",
  "event-flow:kubeconfig": fixture("kubeconfig.yaml"),
  "event-flow:daprChart": fixture("dapr-chart"),
  "event-flow:images": JSON.stringify({
    from: "prebuilt",
    ...perService((service) => `${services[service].name}:test`),
  }),
};

/** A config for stack prod that sets only what it must, and needs no network. */
export const prodConfig = {
  "digitalocean:token": "<do-token>",
  "event-flow:environment": "prod",
  "event-flow:daprChart": fixture("dapr-chart"),
  "event-flow:redpandaBrokers": "seed-1.example.com:9092,seed-2.example.com:9092",
  "event-flow:redpandaUsername": "event-flow",
  "event-flow:redpandaPassword": "<redpanda-password>",
};

/** The keys of it that are kept encrypted. */
export const prodSecrets = ["digitalocean:token", "event-flow:redpandaPassword"];

import { once } from "node:events";
import type { IncomingHttpHeaders } from "node:http";
import { components, eventTypes, topic } from "@event-flow/events";
import { waitFor } from "../tools/progress.ts";
import { startDaprd } from "./daprd.ts";
import { eventServer } from "./event-server.ts";
import { freePort } from "./ports.ts";

export interface Delivery {
  readonly topic: string;
  readonly headers: IncomingHttpHeaders;
  readonly event: Readonly<Record<string, unknown>>;
}

/** Everything that the broker delivered, on all topics, to one more subscriber behind its own sidecar. */
export interface Subscriber {
  readonly deliveries: readonly Delivery[];
  /** Waits until `count` deliveries match. */
  received(what: string, count: number, matches: (delivery: Delivery) => boolean): Promise<Delivery[]>;
  stop(): Promise<void>;
}

export async function startSubscriber(appId: string, brokers: string): Promise<Subscriber> {
  const deliveries: Delivery[] = [];
  const subscriptions = eventTypes.map((type) => ({
    pubsubname: components.pubsub,
    topic: topic(type),
    route: `/${topic(type)}`,
  }));
  const server = eventServer(subscriptions, (event, { url = "", headers }) => {
    deliveries.push({ topic: url.slice(1), headers, event: event as Delivery["event"] });
  });
  const port = await freePort();
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const daprd = await startDaprd({ appId, appPort: port, brokers });
  return {
    deliveries,
    received: (what, count, matches) =>
      waitFor(
        `${count} deliveries of ${what}`,
        60,
        () => {
          const found = deliveries.filter(matches);
          return Promise.resolve(found.length >= count ? found : undefined);
        },
        () => `delivered: ${JSON.stringify(deliveries.map(({ event }) => [event["type"], event["id"]]))}`,
      ),
    stop: async () => {
      await daprd.stop();
      server.closeAllConnections();
      server.close();
    },
  };
}

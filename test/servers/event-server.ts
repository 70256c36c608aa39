import { createServer, type IncomingMessage, type Server } from "node:http";
import { json } from "node:stream/consumers";

/** A topic that a sidecar is to subscribe to, and the path that it delivers events at. */
export interface Subscription {
  readonly pubsubname: string;
  readonly topic: string;
  readonly route: string;
}

/** The least that takes events from a sidecar: it hands each on, and says that it was handled. */
export function eventServer(
  subscriptions: readonly Subscription[],
  take: (event: unknown, request: IncomingMessage) => void,
): Server {
  return createServer((request, response) => {
    const answer = (body: object) => {
      response.setHeader("content-type", "application/json").end(JSON.stringify(body));
    };
    if (request.method !== "POST") {
      answer(request.url === "/dapr/subscribe" ? subscriptions : {});
      return;
    }
    void json(request).then((event) => {
      take(event, request);
      answer({ status: "SUCCESS" });
    });
  });
}

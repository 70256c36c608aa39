/** The least that handles an event: it prints when it came, and its title. What it takes is the limit of any subscriber. */
import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import { components, topic } from "@event-flow/events";
import { print } from "../../test/tools/progress.ts";

const subscriptions = [{ pubsubname: components.pubsub, topic: topic("task_created"), route: "/event" }];

createServer((request, response) => {
  const answer = (body: object) => {
    response.setHeader("content-type", "application/json").end(JSON.stringify(body));
  };
  if (request.method !== "POST") {
    answer(request.url === "/dapr/subscribe" ? subscriptions : {});
    return;
  }
  void json(request).then((event) => {
    print(`${Date.now()} ${(event as { data: { title: string } }).data.title}`);
    answer({ status: "SUCCESS" });
  });
}).listen(Number(process.env["PORT"]), "127.0.0.1");

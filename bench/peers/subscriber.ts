/** The least that handles an event: it prints when it came, and its title. What it takes is the limit of any subscriber. */
import { components, topic } from "@event-flow/events";
import { eventServer } from "../../test/servers/event-server.ts";
import { print } from "../../test/tools/progress.ts";

const subscriptions = [{ pubsubname: components.pubsub, topic: topic("task_created"), route: "/event" }];

eventServer(subscriptions, (event) => {
  print(`${Date.now()} ${(event as { data: { title: string } }).data.title}`);
}).listen(Number(process.env["PORT"]), "127.0.0.1");

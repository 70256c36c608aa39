/** A subscriber to some of the events, and to a topic of another kind. The title of a task says what becomes of its event. */
import { readEnvironment, serve, startOrExit } from "@event-flow/service";
import { createSubscriber, subscriberEnvironment, subscription } from "@event-flow/subscriber";
import { z } from "zod";

const identity = { appId: "subscriber-test", name: "subscriber-test", port: 8099 };
const remarkSchema = z.object({ id: z.string(), time: z.string(), data: z.object({ text: z.string() }) });

/** What there is to wait for. */
class Busy extends Error {}

let busyFor = 7;

await startOrExit(async () => {
  const config = readEnvironment(subscriberEnvironment(identity), process.env);
  const app = await createSubscriber({
    identity,
    title: "A subscriber",
    description: "For tests.",
    config,
    handlers: {
      task_created: ({ data }) => {
        if (data.title === "broken") throw new Error("It is broken");
        if (data.title === "busy" && busyFor-- > 0) throw new Busy("Not now");
        return Promise.resolve({ outcome: "counted", message: `Counted: ${data.title}` });
      },
      task_deleted: () => Promise.resolve("outdated"),
    },
    subscriptions: [
      subscription({
        name: "remarks",
        topic: "subscriber-test.remarks",
        schema: remarkSchema,
        facts: ({ id }) => ({ eventId: id }),
        time: ({ time }) => time,
        handle: ({ data }) => {
          if (data.text === "broken") throw new Error("It is broken");
          return Promise.resolve({ outcome: "heard", message: `Remark: ${data.text}` });
        },
      }),
    ],
    isTransient: (error) => error instanceof Busy,
  });
  await serve(app, config.PORT);
});

import { services } from "@event-flow/events";
import { readEnvironment, serve, sharedToken, startOrExit } from "@event-flow/service";
import { createSubscriber, subscriberEnvironment } from "@event-flow/subscriber";
import { followTask, RefusedError } from "./next-tasks.ts";

const identity = services.recurringTaskService;

await startOrExit(async () => {
  const config = readEnvironment({ ...subscriberEnvironment(identity), NEXT_TASK_TOKEN: sharedToken() }, process.env);
  const token = config.NEXT_TASK_TOKEN;
  const app = await createSubscriber({
    identity,
    title: "Recurring tasks",
    description: "Has the next task made when a recurring one is completed.",
    config,
    secrets: [token],
    handlers: {
      task_completed: (event, { dapr }) => followTask(dapr, token, event),
      // A task can also be completed together with other changes.
      task_updated: (event, { dapr }) => followTask(dapr, token, event),
    },
    isTransient: (error) => error instanceof RefusedError,
  });
  await serve(app, config.PORT);
});

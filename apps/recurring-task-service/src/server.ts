import { services } from "@event-flow/events";
import { serve, startOrExit } from "@event-flow/service";
import { createSubscriber } from "@event-flow/subscriber";
import { readConfig } from "./config.ts";
import { followTask, RefusedError } from "./next-tasks.ts";

await startOrExit(async () => {
  const config = readConfig(process.env);
  const { NEXT_TASK_TOKEN: token } = config;
  const app = await createSubscriber({
    identity: services.recurringTaskService,
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

import { randomUUID } from "node:crypto";
import { services } from "@event-flow/events";
import { print, waitFor } from "../tools/progress.ts";
import { type Access, connect, eventLog } from "./access.ts";

interface Notification {
  readonly event_id: string;
  readonly message: string;
  readonly notified_at: string;
}

/** Creates one task over HTTP and prints the way of its event, with times, down to the notification read back. */
export async function followOneEvent(access: Access): Promise<void> {
  const client = await connect(access, randomUUID());
  try {
    const sent = Date.now();
    const answer = await client.call("backend", {
      method: "POST",
      path: "/tasks",
      body: { title: "See an event arrive", priority_id: 1 },
    });
    const answered = Date.now();
    if (answer.status !== 201) {
      throw new Error(`the backend answered ${answer.status} instead of 201: ${JSON.stringify(answer.body)}`);
    }
    const task = answer.body as { id: number; created_at: string };

    const notification = await waitFor("the notification of the new task", 30, async () => {
      const { body } = await client.call("notificationService", { path: "/notifications" });
      return (body as Notification[]).at(0);
    });
    const readBack = Date.now();
    const published = (await eventLog(access, services.backend, client.userId)).at(0);
    const handled = (await eventLog(access, services.notificationService, client.userId)).at(0);
    if (published?.eventId !== notification.event_id || handled?.eventId !== notification.event_id) {
      throw new Error(`the logs of the services don't tell of the event ${notification.event_id}`);
    }

    const steps: readonly (readonly [number, string])[] = [
      [sent, `POST /api/${client.userId}/tasks`],
      [Date.parse(task.created_at), `saved in PostgreSQL as task ${task.id}`],
      [published.time, `published through the sidecar of ${services.backend.appId}: ${published.msg}`],
      [answered, "answered 201"],
      [Date.parse(notification.notified_at), `delivered through the sidecar of ${services.notificationService.appId}`],
      [handled.time, `handled and saved in the state store: ${handled.msg}`],
      [readBack, `read back from GET /api/${client.userId}/notifications`],
    ];
    print(`The way of event ${notification.event_id} (ms since the request; clocks of host and cluster):`);
    for (const [time, what] of [...steps].sort(([a], [b]) => a - b)) {
      print(`  ${String(time - sent).padStart(6)} ms  ${what}`);
    }
  } finally {
    client.close();
  }
}

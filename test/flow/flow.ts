import { randomUUID } from "node:crypto";
import { services } from "@event-flow/events";
import { print, waitFor } from "../tools/progress.ts";
import { type Access, type Client, connect, eventLog, type LogLine } from "./access.ts";

interface Notification {
  readonly event_id: string;
  readonly message: string;
  readonly notified_at: string;
}

/** Something that tasks' events go through. */
export interface Flow {
  readonly connect: (userId: string) => Promise<Client>;
  /** What a service logged about the events of a user. */
  readonly eventLog: (service: keyof typeof services, userId: string) => Promise<LogLine[]>;
}

/** The flow of a stack that is deployed to a cluster. */
export function deployed(access: Access): Flow {
  return {
    connect: (userId) => connect(access, userId),
    eventLog: (service, userId) => eventLog(access, services[service], userId),
  };
}

/** Creates one task over HTTP and prints the way of its event, with times, down to the notification read back. */
export async function followOneEvent(flow: Flow): Promise<void> {
  const client = await flow.connect(randomUUID());
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
    const logged = (service: keyof typeof services) =>
      waitFor(`the ${services[service].name} to log the event ${notification.event_id}`, 10, async () =>
        (await flow.eventLog(service, client.userId)).find(({ eventId }) => eventId === notification.event_id),
      );
    const published = await logged("backend");
    const handled = await logged("notificationService");

    const steps: readonly (readonly [number, string])[] = [
      [sent, `POST /api/${client.userId}/tasks`],
      [Date.parse(task.created_at), `saved in PostgreSQL as task ${task.id}`],
      [published.time, `published through the sidecar of ${services.backend.appId}: ${published.msg}`],
      [answered, "answered 201"],
      [Date.parse(notification.notified_at), `delivered through the sidecar of ${services.notificationService.appId}`],
      [handled.time, `handled and saved in the state store: ${handled.msg}`],
      [readBack, `read back from GET /api/${client.userId}/notifications`],
    ];
    print(`The way of event ${notification.event_id} (ms since the request, by the clock of each part):`);
    for (const [time, what] of [...steps].sort(([a], [b]) => a - b)) {
      print(`  ${String(time - sent).padStart(6)} ms  ${what}`);
    }
  } finally {
    client.close();
  }
}

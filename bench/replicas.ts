import { randomUUID } from "node:crypto";
import { DaprClient } from "@event-flow/service";
import { waitFor } from "../test/tools/progress.ts";
import { eventOf } from "../test/servers/events.ts";
import { type Peer, startPeer } from "./peers.ts";
import type { Plan } from "./plan.ts";
import type { Replicas } from "./results.ts";
import type { Stage } from "./stage.ts";

/** Events that are published in one call. */
const batch = 500;

/**
 * How many events some replicas of the notification service handle when there are more than enough. Of all types, as the
 * broker gives each topic's three partitions to at most three of them.
 */
export async function measureReplicas(
  stage: Stage,
  replicas: number,
  plan: Plan,
  users: readonly string[],
): Promise<Replicas> {
  const peer = await startPeer(stage, "event-flow", { subscribers: replicas });
  try {
    // Every replica has its partitions before what counts begins.
    await publishAll(peer, users, plan.replicaEvents / 4, 0);
    const begun = Date.now();
    const handled = await publishAll(peer, users, plan.replicaEvents, plan.replicaEvents);
    return { replicas, perSecond: (plan.replicaEvents / (Math.max(...handled) - begun)) * 1_000 };
  } finally {
    await peer.stop();
  }
}

/** Publishes the four events of each of some tasks, and resolves to when all of them were handled. */
async function publishAll(peer: Peer, users: readonly string[], count: number, firstTask: number): Promise<number[]> {
  const before = new Set(peer.handled().keys());
  const dapr = new DaprClient({ port: peer.publisher.httpPort, apiToken: peer.publisher.apiToken });
  const at = new Date().toISOString();
  const tasks = Array.from({ length: count / 4 }, (_, index) => ({
    task_id: firstTask + index + 1,
    user_id: users[index % users.length] ?? randomUUID(),
  }));
  const title = "Task of the replicas";
  for (let begin = 0; begin < tasks.length; begin += batch) {
    const some = tasks.slice(begin, begin + batch);
    const refusals = await Promise.all([
      dapr.publish(
        "task_created",
        some.map((task) =>
          eventOf("task_created", {
            ...task,
            title: `${title} ${task.task_id}`,
            priority_id: 1,
            due_date: null,
            created_at: at,
          }),
        ),
      ),
      dapr.publish(
        "task_updated",
        some.map((task) =>
          eventOf(
            "task_updated",
            { ...task, title, completed: false, priority_id: 1, updated_at: at },
            { taskversion: 2 },
          ),
        ),
      ),
      dapr.publish(
        "task_completed",
        some.map((task) =>
          eventOf("task_completed", { ...task, completed: true, completed_at: at }, { taskversion: 3 }),
        ),
      ),
      dapr.publish(
        "task_deleted",
        some.map((task) => eventOf("task_deleted", { ...task, deleted_at: at }, { taskversion: 4 })),
      ),
    ]);
    const [refusal] = refusals.flat();
    if (refusal !== undefined) throw refusal.error;
  }
  await dapr.close();
  return waitFor(`${count} events to be handled`, 120, () => {
    const handled = [...peer.handled()].filter(([key]) => !before.has(key));
    return Promise.resolve(handled.length >= tasks.length * 4 ? handled.map(([, time]) => time) : undefined);
  });
}

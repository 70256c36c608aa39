/** Gathers from a stack in a cluster what the verifier of `make chaos` compares. */
import { eventTypes } from "@event-flow/events";
import { z } from "zod";
import { topicsFrom } from "../chaos/evidence.ts";
import type { Request } from "../chaos/load-log.ts";
import type { Handling } from "../chaos/notification-log.ts";
import type { Evidence } from "../chaos/verify.ts";
import { token } from "../servers/token.ts";
import { type Access, jwtSecretOf, kubectl } from "./access.ts";

/** Rows of the database, as text. */
export async function rows(access: Access, statement: string): Promise<string[][]> {
  const psql = 'psql --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --no-align --tuples-only --command="$0"';
  const output = await kubectl(access, "exec", "postgres-0", "--", "sh", "-c", psql, statement);
  return output
    .split("\n")
    .filter(Boolean)
    .map((line) => line.split("|"));
}

const notificationsSchema = z.array(
  z.object({ event_id: z.string(), type: z.enum(eventTypes), task_id: z.int(), notified_at: z.iso.datetime() }),
);

/**
 * The logs of deleted pods are gone. In their place are the lists of what users were told, which are whole as long as none of
 * them was told more than is kept.
 */
export async function clusterEvidence(
  access: Access,
  { requests, notifications }: { readonly requests: readonly Request[]; readonly notifications: string },
): Promise<Evidence> {
  const users = [...new Set(requests.map(({ user }) => user))];
  const consumed = await kubectl(
    access,
    ...["exec", "kafka-0", "--", "/opt/kafka/bin/kafka-console-consumer.sh", "--bootstrap-server=localhost:9092"],
    ...["--include=task-events\\..*", "--from-beginning", "--timeout-ms=5000"],
    ...["--formatter-property=print.partition=true", "--formatter-property=print.offset=true"],
  );
  const topics = topicsFrom(consumed);
  const versions = new Map(topics.messages.map(({ eventId, version }) => [eventId, version]));
  const secret = await jwtSecretOf(access);
  const handlings = await Promise.all(
    users.map(async (user): Promise<Handling[]> => {
      const claims = { sub: user, exp: Math.floor(Date.now() / 1_000) + 600 };
      const response = await fetch(`${notifications}/api/${user}/notifications`, {
        headers: { authorization: `Bearer ${token(claims, secret)}` },
      });
      const told = notificationsSchema.parse(await response.json());
      return told.map(({ event_id: eventId, type, task_id: task, notified_at }) => {
        const version = versions.get(eventId) ?? 0;
        return { outcome: "told", eventId, type, task, version, at: Date.parse(notified_at), source: user };
      });
    }),
  );
  const listed = users.map((user) => `'${user}'`).join(", ");
  const tasks = await rows(access, `select id, version from tasks where user_id in (${listed})`);
  return {
    requests,
    tasks: tasks.map(([id, version]) => ({ id: Number(id), version: Number(version) })),
    outbox: (await rows(access, "select task from outbox")).flat(),
    ...topics,
    handlings: handlings.flat(),
    givenUp: [],
  };
}

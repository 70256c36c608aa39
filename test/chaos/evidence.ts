/** Gathers what the verifier compares, from the database and from the broker. */
import { randomUUID } from "node:crypto";
import { type EventType, eventTypes, topic } from "@event-flow/events";
import { z } from "zod";
import { kafkaTool } from "../servers/kafka.ts";
import { query } from "../servers/postgres.ts";
import { analyticsDatabase, database } from "../servers/system.ts";
import type { Change, Message, SavedTask } from "./verify.ts";

export async function savedTasks(postgresPort: number): Promise<SavedTask[]> {
  const rows = await query(postgresPort, database, "select id, version from tasks");
  return rows.map(({ id, version }) => ({ id: Number(id), version: Number(version) }));
}

/** What the analytics service works figures out of. */
export async function countedChanges(postgresPort: number): Promise<Change[]> {
  const rows = await query(postgresPort, analyticsDatabase, "select task_id, version from changes");
  return rows.map(({ task_id, version }) => ({ task: Number(task_id), version: Number(version) }));
}

export async function waitingEvents(postgresPort: number): Promise<string[]> {
  const rows = await query(postgresPort, database, "select id, event_id, type, task from outbox order by id");
  return rows.map((row) => JSON.stringify(row));
}

export interface Topics {
  readonly messages: readonly Message[];
  readonly deadLetters: readonly string[];
}

/** Reads all topics from the beginning with Kafka's own console consumer. */
export async function readTopics(brokers: string): Promise<Topics> {
  const printed = await kafkaTool(
    "consumer.ConsoleConsumer",
    ...["--bootstrap-server", brokers, "--group", randomUUID(), "--include", "task-events\\..*"],
    ...["--from-beginning", "--timeout-ms", "3000"],
    ...["--formatter-property", "print.partition=true", "--formatter-property", "print.offset=true"],
  );
  return topicsFrom(printed);
}

const eventSchema = z.object({
  id: z.string(),
  type: z.enum(eventTypes),
  taskversion: z.int(),
  data: z.object({ task_id: z.int() }),
});

/** Reads what the console consumer printed. What is no event is a dead letter. */
export function topicsFrom(output: string): Topics {
  const messages: Message[] = [];
  const deadLetters: string[] = [];
  for (const line of output.split("\n")) {
    const [, partition, offset, value] = /^Partition:(\d+)\tOffset:(\d+)\t(.*)$/.exec(line) ?? [];
    // The consumer says there, too, that its time is up.
    if (value === undefined) continue;
    const event = eventSchema.safeParse(parse(value)).data;
    if (event === undefined) {
      deadLetters.push(line);
      continue;
    }
    const { id: eventId, type, taskversion: version, data } = event;
    messages.push({
      ...{ topic: topic<EventType>(type), partition: Number(partition), offset: Number(offset) },
      ...{ eventId, type, task: data.task_id, version },
    });
  }
  return { messages, deadLetters };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

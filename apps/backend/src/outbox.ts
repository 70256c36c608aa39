import type { EventType } from "@event-flow/events";
import { inSpan, type Tracing } from "@event-flow/service";
import { sql, type OperationNodeSource } from "kysely";
import type { Database, TaskRow } from "./database.ts";
import type { Relay } from "./relay.ts";

/**
 * Makes one change, by a statement that returns the task, and sees to its event. Resolves to the task as the change left it;
 * undefined if there was nothing to change. What else is part of the change is a statement that reads the task from `changed`.
 */
export type Change = (
  about: { readonly type: EventType; readonly traceparent: string },
  statement: OperationNodeSource,
  also?: OperationNodeSource,
) => Promise<TaskRow | undefined>;

/**
 * Notes a change in the very statement that makes it: a change that was acknowledged has its event, and one that failed has
 * none. The broker gets it afterwards, from the relay. (Published after the commit by the request itself, as in the original
 * design, an event is lost whenever publishing fails.) One statement is also one way to the database and back, where a
 * transaction of two takes four.
 */
export function changeWithOutbox(database: Database, relay: Relay, tracing?: Tracing): Change {
  return async ({ type, traceparent }, statement, also) => {
    const noting = sql<TaskRow>`
      with changed as (${statement}), noted as (
        insert into outbox (type, traceparent, task) select ${type}, ${traceparent}, to_json(changed) from changed
      )${also === undefined ? sql`` : sql`, besides as (${also})`}
      select * from changed
    `;
    const { rows } = await inSpan(
      tracing,
      () => ({
        name: `commit ${type}`,
        kind: "client",
        parent: traceparent,
        attributes: { "db.system.name": "postgresql", "db.collection.name": "outbox" },
      }),
      () => noting.execute(database),
    );
    if (rows[0] !== undefined) {
      relay.committed();
    }
    return rows[0];
  };
}

/** Counting further would cost more than the figure is worth. */
const countedAtMost = 10_000;

/** What waits in the outbox. */
export interface Backlog {
  /** How many events, counted up to 10,000. */
  readonly events: number;
  /** How long ago the first of them happened; null if there is none. */
  readonly oldest_seconds: number | null;
  /** The table's size on disk with its index. */
  readonly bytes: number;
}

export async function readBacklog(database: Database): Promise<Backlog> {
  const { rows } = await sql<Backlog>`
    select
      (select count(*) from (select from outbox limit ${countedAtMost}) as counted) as events,
      (
        select round(extract(epoch from clock_timestamp() - (task ->> 'updated_at')::timestamptz), 1)::float
        from outbox order by id limit 1
      ) as oldest_seconds,
      pg_total_relation_size('outbox') as bytes
  `.execute(database);
  const [backlog] = rows;
  if (backlog === undefined) {
    throw new Error("The outbox could not be measured");
  }
  return backlog;
}

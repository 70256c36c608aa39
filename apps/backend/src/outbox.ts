import { sql, type Transaction } from "kysely";
import type { Database, Schema } from "./database.ts";
import type { TaskEvent } from "./events.ts";
import type { Relay } from "./relay.ts";

/** Makes one change, and sees to the events that it emits. */
export type Change = <R>(
  make: (trx: Transaction<Schema>, emit: (event: TaskEvent) => Promise<void>) => Promise<R>,
) => Promise<R>;

/**
 * Notes a change's event in the same transaction: a change that was acknowledged has its event, and one that failed has none.
 * The broker gets it afterwards, from the relay. (Published after the commit by the request itself, as in the original
 * design, an event is lost whenever publishing fails.)
 */
export function changeWithOutbox(database: Database, relay: Relay): Change {
  return async (make) => {
    const result = await database.transaction().execute((trx) => make(trx, (event) => addToOutbox(trx, event)));
    relay.committed();
    return result;
  };
}

async function addToOutbox(trx: Transaction<Schema>, event: TaskEvent): Promise<void> {
  await trx
    .insertInto("outbox")
    .values({ event: JSON.stringify(event) })
    .execute();
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
        select round(extract(epoch from clock_timestamp() - (event ->> 'time')::timestamptz), 1)::float
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

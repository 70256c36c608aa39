import { topic } from "@event-flow/events";
import { isSampled, traceId, type DaprClient, type DaprError, type Span, type Tracing } from "@event-flow/service";
import type { FastifyBaseLogger } from "fastify";
import pg from "pg";
import { eventOf, type TaskChange, type TaskEvent } from "./events.ts";
import type { Meter } from "./metrics.ts";

/** PostgreSQL's name for what replicas tell each other of: events were committed, or another may relay now. */
const channel = "outbox";
/** The key of the advisory lock that the one replica holds which relays; any number that nobody else uses. */
const lock = 7_211_950_233;

/** Events that are read at once. More of them save little; an event that comes meanwhile waits for these. */
const batchSize = 500;
const longestBatchMs = 2_000;
/** How often to look without being told to, and to try for the lock. */
const pollMs = 1_000;
/** Longer than any pause between two queries of a healthy relay; see `sessionSettings`. */
const sessionTimeoutMs = 10_000;
const firstPauseMs = 200;
const longestPauseMs = 2_000;
/** How long a relay that is told to stop goes on with what is left. */
const drainMs = 4_000;

/**
 * - `idle_session_timeout`: PostgreSQL ends the session of a relay that froze, or whose machine is gone, and so gives its
 *   lock to another.
 * - `synchronous_commit`: deletes that are lost in a crash of PostgreSQL only make events that are published once more,
 *   which their subscribers ignore. No change of a task hangs on them.
 */
const sessionSettings = `
  set idle_session_timeout = ${sessionTimeoutMs};
  set statement_timeout = 5000;
  set synchronous_commit = off;
  listen ${channel}
`;

const nextChanges = "select id, event_id, type, traceparent, task from outbox order by id limit $1";

/** What waits to be published, by its number in the outbox. */
interface Waiting {
  readonly id: string;
  readonly event: TaskEvent;
}

interface Options {
  readonly databaseUrl: string;
  readonly dapr: DaprClient;
  readonly log: FastifyBaseLogger;
  readonly meter: Meter;
  /** @default nothing is traced */
  readonly tracing?: Tracing | undefined;
}

/**
 * Takes events from the outbox to the broker. Every replica has a relay, and one at a time works: the one whose session
 * holds an advisory lock. One is enough (it publishes more than a database commits), and needs no division of tasks among
 * replicas that come and go. The lock is tried for, not waited for: a session that waits in a query keeps its snapshot, and
 * with it every dead row of the outbox.
 *
 * Order doesn't hang on the lock. A relay publishes an event only when the one before it of the same task was acknowledged,
 * to itself or to the relay that deleted it. So also where two overlap (one was frozen, or its publishing is under way yet
 * when its session ends) each event first appears in its place; what appears again is older than what was seen.
 *
 * No event is skipped: nothing remembers how far it came. Numbers are given before the commit, so that a lower one can turn
 * up later; it is read then. Within a task numbers do follow the commits, as a change holds its task's row from before it
 * takes a number until it's committed.
 */
export class Relay {
  readonly #options: Options;
  #running: Promise<void> | undefined;
  #stopBy: number | undefined;
  #committed = false;
  #rung = false;
  #wake: (() => void) | undefined;

  constructor(options: Options) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /**
   * Says that this replica committed an event. The replica that relays is told outside of the transaction, as PostgreSQL
   * lets only one transaction at a time commit with a NOTIFY; if that is not to be any more, its poll finds the event.
   */
  committed(): void {
    this.#committed = true;
    this.#ring();
  }

  /** Publishes what is left, as far as that goes quickly, and lets another replica relay. */
  async stop(): Promise<void> {
    this.#stopBy = Date.now() + drainMs;
    this.#ring();
    await this.#running;
  }

  get #stopping(): boolean {
    return this.#stopBy !== undefined;
  }

  async #run(): Promise<void> {
    const { databaseUrl, log } = this.#options;
    while (!this.#stopping) {
      const client = new pg.Client({
        connectionString: databaseUrl,
        application_name: "event-flow-relay",
        connectionTimeoutMillis: 5_000,
        query_timeout: 7_000,
        keepAlive: true,
      });
      // The query that is under way, or the next one, rejects as well.
      client.on("error", () => {
        this.#ring();
      });
      try {
        await client.connect();
        await this.#serve(client);
      } catch (err) {
        log.warn({ err }, "The relay lost the database");
      } finally {
        // Not awaited: a server that doesn't answer would hold the next session up.
        client.end().catch(() => undefined);
      }
      await this.#pause(firstPauseMs);
    }
  }

  /** Relays, or waits to, for as long as the session lasts. Returns when it is time to stop. */
  async #serve(client: pg.Client): Promise<void> {
    client.on("notification", ({ processId }) => {
      // A session also hears itself.
      if (processId !== (client as unknown as { processID: number }).processID) {
        this.#ring();
      }
    });
    await client.query(sessionSettings);
    let leads = false;
    let failures = 0;
    for (;;) {
      const stopping = this.#stopping;
      leads ||= await tryLock(client);
      if (!leads && this.#committed) {
        this.#committed = false;
        await client.query(`notify ${channel}`);
      }
      const { refusal, progressed } = leads ? await this.#drain(client) : { refusal: undefined, progressed: false };
      if (leads && (refusal !== undefined || stopping)) {
        // Another replica's sidecar may be better off.
        await client.query(`select pg_advisory_unlock(${lock}); notify ${channel}`);
        leads = false;
      }
      if (stopping) {
        return;
      }
      if (refusal === undefined) {
        failures = 0;
        await this.#rest();
      } else {
        // What got through shows that the broker is there. A circuit breaker that tries it lets one call through and refuses
        // the others of that moment, but not the next ones.
        failures = progressed ? 0 : failures;
        const retryInMs = Math.min(firstPauseMs * 2 ** failures, longestPauseMs);
        failures += 1;
        this.#options.log.warn({ err: refusal, retryInMs }, "Events wait in the outbox: they could not be published");
        await this.#pause(retryInMs);
      }
    }
  }

  /** Publishes until the outbox is empty, or returns why an event could not be published, and whether others were. */
  async #drain(client: pg.Client): Promise<{ refusal: DaprError | undefined; progressed: boolean }> {
    this.#committed = false;
    let progressed = false;
    for (;;) {
      const { rows } = await client.query<TaskChange & { id: string }>(nextChanges, [batchSize]);
      if (rows.length === 0) {
        return { refusal: undefined, progressed };
      }
      const waiting = rows.map((row) => ({ id: row.id, event: eventOf(row) }));
      const { acknowledged, refusal } = await this.#publish(waiting);
      if (acknowledged.length > 0) {
        progressed = true;
        await client.query("delete from outbox where id = any($1::bigint[])", [acknowledged]);
      }
      const wasLast = rows.length < batchSize && acknowledged.length === rows.length;
      if (refusal !== undefined || wasLast || Date.now() > (this.#stopBy ?? Infinity)) {
        return { refusal, progressed };
      }
    }
  }

  /** Publishes one event of each task after the other: what follows an event that was refused is held back. */
  async #publish(waiting: readonly Waiting[]): Promise<{ acknowledged: string[]; refusal: DaprError | undefined }> {
    const begun = performance.now();
    const acknowledged: string[] = [];
    const blocked = new Set<number>();
    let refusal: DaprError | undefined;
    for (const wave of inWaves(waiting)) {
      // Many changes of one task make many waves: the rest is read again before the session seems idle.
      if (performance.now() - begun > longestBatchMs) {
        break;
      }
      const sent = wave.filter(({ event }) => !blocked.has(event.data.task_id));
      const byType = Map.groupBy(sent, ({ event }) => event.type);
      await Promise.all(
        [...byType].map(async ([type, group]) => {
          const called = performance.now();
          const spans = this.#options.tracing && beginPublishing(this.#options.tracing, group);
          const refusals = await this.#options.dapr.publish(
            type,
            // What becomes of an event is a part of its publishing.
            group.map(({ event }, index) => {
              const span = spans?.[index];
              return span === undefined ? event : { ...event, traceparent: span.traceparent };
            }),
          );
          const durationMs = Math.round((performance.now() - called) * 10) / 10;
          const refused = new Map(refusals.map(({ eventId, error }) => [eventId, error]));
          spans?.forEach((span, index) => {
            span.end({ failure: refused.get(group[index]?.event.id ?? "") });
          });
          refusal ??= refusals[0]?.error;
          for (const { id, event } of group) {
            if (refused.has(event.id)) {
              blocked.add(event.data.task_id);
              this.#options.meter.refused(type);
            } else {
              acknowledged.push(id);
              this.#options.meter.published(type);
              this.#logPublished(event, durationMs);
            }
          }
        }),
      );
    }
    return { acknowledged, refusal };
  }

  #logPublished({ id, type, time, traceparent, taskversion, data }: TaskEvent, durationMs: number): void {
    this.#options.log.info(
      {
        eventId: id,
        type,
        taskId: data.task_id,
        taskVersion: taskversion,
        userId: data.user_id,
        traceId: traceId(traceparent),
        durationMs,
        sinceEventMs: Date.now() - Date.parse(time),
      },
      `Published event: ${type}`,
    );
  }

  #ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  /** Waits until there may be something to do. */
  async #rest(): Promise<void> {
    if (!this.#rung) {
      await this.#sleep(pollMs);
    }
    this.#rung = false;
  }

  /** Waits, whatever there is to do, unless it's time to stop. */
  async #pause(ms: number): Promise<void> {
    const until = performance.now() + ms;
    for (let left = ms; left > 0 && !this.#stopping; left = until - performance.now()) {
      await this.#sleep(left);
    }
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }
}

async function tryLock(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>("select pg_try_advisory_lock($1) as locked", [lock]);
  return rows[0]?.locked === true;
}

/** A span for each event; the sidecar's own, which are one call's, are parts of the first that is traced. */
function beginPublishing(tracing: Tracing, group: readonly Waiting[]): Span[] {
  let first: string | undefined;
  return group.map(({ event }) => {
    const span = tracing.begin(`publish ${topic(event.type)}`, {
      kind: "producer",
      parent: event.traceparent,
      links: first === undefined ? [] : [first],
      attributes: {
        "messaging.system": "kafka",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic(event.type),
        "messaging.message.id": event.id,
        "messaging.batch.message_count": group.length,
      },
    });
    if (isSampled(span.traceparent)) first ??= span.traceparent;
    return span;
  });
}

/** The first event of each task, then the second of each, and so on. */
function inWaves(waiting: readonly Waiting[]): Waiting[][] {
  const waves: Waiting[][] = [];
  const seen = new Map<number, number>();
  for (const each of waiting) {
    const nth = seen.get(each.event.data.task_id) ?? 0;
    seen.set(each.event.data.task_id, nth + 1);
    (waves[nth] ??= []).push(each);
  }
  return waves;
}

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { components, daprTokenHeader, topic } from "@event-flow/events";
import { continueTrace } from "@event-flow/service";
import pg from "pg";
import type { ChangedTask } from "../apps/backend/src/events.ts";
import { databaseUrl } from "../test/servers/postgres.ts";
import { waitFor } from "../test/tools/progress.ts";
import { type Answer, type Pace, type Post, send } from "./load.ts";
import { watch } from "./meter.ts";
import { createdEvent, type Peer, type PeerName, startPeer } from "./peers.ts";
import { openRates, type Plan } from "./plan.ts";
import type { Bulk, Check, Drain, EndToEnd, Posts, Start, Visit } from "./results.ts";
import type { Stage } from "./stage.ts";
import { durations } from "./statistics.ts";

/** So many requests are ready for each second of a closed loop; a peer that is faster gets them over again. */
const postsPerSecond = 3_000;

/** A request that has no answer within this is taken not to get one. */
const answerSeconds = 10;

/** Events are taken to be lost when within this none more is handled. */
const stalledMs = 20_000;

const eventsPerBulk = 100;

/** A peer during its turn. */
interface Turn {
  readonly stage: Stage;
  readonly peer: Peer;
  readonly plan: Plan;
  /** Makes requests with titles that none before had, of all users in turn. */
  readonly posts: (count: number) => Post[];
  /** The keys of the requests that were acknowledged. */
  readonly acknowledged: Set<string>;
}

/** One turn of a peer: everything that is measured of it, from its start to its stop. */
export async function visit(stage: Stage, name: PeerName, plan: Plan, users: readonly string[]): Promise<Visit> {
  const peer = await startPeer(stage, name);
  let phases = 0;
  const turn: Turn = {
    stage,
    peer,
    plan,
    posts: (count) => {
      phases += 1;
      return Array.from({ length: count }, (_, index) =>
        peer.post(users[index % users.length] ?? "", `Task ${phases}.${index} of the bench`),
      );
    },
    acknowledged: new Set(),
  };
  try {
    await closedLoop(turn, name === "recipe" ? 1 : 4, plan.warmUpSeconds);
    await allHandled(turn);
    const endToEnd = await measureEndToEnd(turn);
    const subscribed = peer.backend === undefined ? [] : await measurePosts(turn, true);
    await killSubscribers(peer);
    const alone = await measurePosts(turn, false);
    return {
      peer: name,
      posts: [...subscribed, ...alone],
      endToEnd,
      check: name === "event-flow" ? await check(turn) : undefined,
      bulk: name === "limit" ? await measureBulk(turn) : [],
      drains: name === "event-flow" ? await measureDrains(turn) : [],
      starts: startsOf(peer),
    };
  } finally {
    await peer.stop();
  }
}

function startsOf({ name, backend, subscribers }: Peer): Start[] {
  return [
    ...(backend === undefined ? [] : [{ peer: name, app: "backend" as const, readyMs: backend.readyMs }]),
    ...subscribers.map(({ readyMs }) => ({ peer: name, app: "subscriber" as const, readyMs })),
  ];
}

const isAccepted = ({ status }: Answer) => status >= 200 && status < 300;

/** Sends requests, and remembers which were acknowledged. */
async function load({ acknowledged }: Turn, posts: readonly Post[], pace: Pace, seconds: number): Promise<Answer[]> {
  const answers = await send(posts, pace, { seconds, timeoutSeconds: answerSeconds });
  for (const { key } of answers.filter(isAccepted)) acknowledged.add(key);
  return answers;
}

function closedLoop(turn: Turn, connections: number, seconds: number): Promise<Answer[]> {
  return load(turn, turn.posts(seconds * postsPerSecond), { connections }, seconds);
}

/** Waits until what was acknowledged was handled, and resolves to the keys of what was not. */
async function allHandled({ peer, acknowledged }: Turn): Promise<string[]> {
  let seen = 0;
  let progress = performance.now();
  for (;;) {
    const handled = peer.handled();
    if (handled.size > seen) progress = performance.now();
    seen = handled.size;
    const missing = [...acknowledged].filter((key) => !handled.has(key));
    if (missing.length === 0 || performance.now() - progress > stalledMs) return missing;
    await sleep(100);
  }
}

function publishingParts({ stage, peer }: Turn): Record<string, number> {
  return {
    ...(peer.backend && { backend: peer.backend.app.pid() }),
    "backend's sidecar": peer.publisher.pid(),
    PostgreSQL: stage.postgres.pid(),
    Kafka: stage.kafka.pid(),
  };
}

function allParts(turn: Turn): Record<string, number> {
  const [subscriber] = turn.peer.subscribers;
  return {
    ...publishingParts(turn),
    ...(subscriber && { subscriber: subscriber.app.pid(), "subscriber's sidecar": subscriber.sidecar.pid() }),
    Valkey: turn.stage.valkey.pid(),
  };
}

async function measureEndToEnd(turn: Turn): Promise<EndToEnd[]> {
  const { peer, plan } = turn;
  const measured: EndToEnd[] = [];
  // The recipe doesn't keep up with more.
  for (const rate of openRates.filter((each) => peer.name !== "recipe" || each === 10)) {
    const seconds = plan.openSeconds[rate];
    const end = watch(allParts(turn));
    const answers = await load(turn, turn.posts(seconds * rate), { rate }, seconds);
    await allHandled(turn);
    const parts = end();
    const handled = peer.handled();
    const toHandled = answers.flatMap(({ key, sentAt }) => {
      const at = handled.get(key);
      return at === undefined ? [] : [at - sentAt];
    });
    measured.push({
      peer: peer.name,
      rate,
      sent: answers.length,
      accepted: answers.filter(isAccepted).length,
      latency: durations(answers.map(({ latencyMs }) => latencyMs)),
      toHandled: durations(toHandled),
      parts,
    });
  }
  return measured;
}

/** From the first request's sending to the last one's answer. */
function perSecond(answers: readonly Answer[]): number {
  if (answers.length === 0) return 0;
  const first = answers.reduce((min, { sentAt }) => Math.min(min, sentAt), Infinity);
  const last = answers.reduce((max, { sentAt, latencyMs }) => Math.max(max, sentAt + latencyMs), first);
  return (answers.length / (last - first)) * 1_000;
}

async function measurePosts(turn: Turn, subscribed: boolean): Promise<Posts[]> {
  const { peer, plan } = turn;
  const measured: Posts[] = [];
  for (const connections of plan.connections) {
    // Where the recipe doesn't answer at all, once is enough.
    if (peer.name === "recipe" && connections > 1 && subscribed) continue;
    const answers = await closedLoop(turn, connections, plan.closedSeconds);
    const good = answers.filter(isAccepted);
    measured.push({
      peer: peer.name,
      connections,
      subscribed,
      perSecond: perSecond(good),
      latency: durations(good.map(({ latencyMs }) => latencyMs)),
      failed: answers.length - good.length,
    });
    if (good.length < answers.length) await restartBackend(peer);
    if (subscribed) await allHandled(turn);
  }
  return measured;
}

/** A backend that hangs would keep what follows from being measured. */
async function restartBackend({ backend }: Peer): Promise<void> {
  await backend?.app.kill();
  await backend?.app.start();
}

async function killSubscribers({ subscribers }: Peer): Promise<void> {
  await Promise.all(subscribers.flatMap(({ app, sidecar }) => [app.kill(), sidecar.kill()]));
}

/** Lets the subscriber handle what came while it was away. */
async function check(turn: Turn): Promise<Check> {
  const { peer, acknowledged } = turn;
  for (const { app, sidecar } of peer.subscribers) await Promise.all([sidecar.start(), app.start()]);
  const missing = await allHandled(turn);
  await killSubscribers(peer);
  return { acknowledged: acknowledged.size, lost: missing.length, handledAgain: peer.handledAgain() };
}

async function measureBulk({ peer, plan }: Turn): Promise<Bulk[]> {
  const url = `http://127.0.0.1:${peer.publisher.httpPort}/v1.0/publish/bulk/${components.pubsub}/${topic("task_created")}`;
  const { apiToken } = peer.publisher;
  const posts = Array.from({ length: 200 }, (_, nth) => ({
    url,
    headers: apiToken === undefined ? {} : { [daprTokenHeader]: apiToken },
    key: String(nth),
    body: Array.from({ length: eventsPerBulk }, (_entry, index) => {
      const event = createdEvent(randomUUID(), `Task ${nth}.${index} of the bench`, nth * eventsPerBulk + index + 1);
      const contentType = "application/cloudevents+json";
      return { entryId: event.id, event, contentType, metadata: { partitionKey: event.subject } };
    }),
  }));
  const measured: Bulk[] = [];
  for (const connections of [1, 16]) {
    const answers = await send(posts, { connections }, { seconds: plan.closedSeconds });
    measured.push({ connections, eventsPerSecond: perSecond(answers.filter(isAccepted)) * eventsPerBulk });
  }
  return measured;
}

/** Puts events into the outbox as one commit, and takes the time until none of them is left. */
async function measureDrains(turn: Turn): Promise<Drain[]> {
  const { stage, peer, plan } = turn;
  const client = new pg.Client({ connectionString: databaseUrl(stage.postgres.port, peer.database ?? "") });
  await client.connect();
  try {
    const measured: Drain[] = [];
    for (const backlog of plan.backlogs) {
      const at = new Date().toISOString();
      const task: ChangedTask = {
        id: 0,
        user_id: randomUUID(),
        title: `Task of a backlog of ${backlog}`,
        description: null,
        completed: false,
        priority_id: 1,
        due_date: null,
        created_at: at,
        updated_at: at,
        version: 1,
      };
      await client.query("begin");
      await client.query(
        `insert into outbox (type, traceparent, task)
         select 'task_created', $1, jsonb_set($2, '{id}', to_jsonb(n))::json from generate_series(1, $3::int) as n`,
        [continueTrace(undefined), JSON.stringify(task), backlog],
      );
      const { rows } = await client.query<{ last: string }>("select max(id) as last from outbox");
      await client.query("notify outbox");
      const end = watch(publishingParts(turn));
      await client.query("commit");
      const begun = performance.now();
      await waitFor(`the outbox to be empty of ${backlog} events`, 120, async () => {
        // By its key, as a search through the table would hold the relay up.
        const isThere = async () =>
          (await client.query("select from outbox where id = $1", [rows[0]?.last])).rowCount === 1;
        while (await isThere()) await sleep(5);
        return (await client.query("select from outbox limit 1")).rowCount === 0 ? true : undefined;
      });
      const eventsPerSecond = (backlog / (performance.now() - begun)) * 1_000;
      measured.push({ backlog, eventsPerSecond, parts: end() });
    }
    return measured;
  } finally {
    await client.end();
  }
}

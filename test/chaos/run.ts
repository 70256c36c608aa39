import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { perService, probes } from "@event-flow/events";
import { setClock } from "../servers/clock.ts";
import { mountSmallDisk, type SmallDisk } from "../servers/small-disk.ts";
import { startSystem, type System } from "../servers/system.ts";
import { startToxiproxy } from "../servers/toxiproxy.ts";
import { say, seconds, step, waitFor } from "../tools/progress.ts";
import { countedChanges, readTopics, savedTasks, waitingEvents } from "./evidence.ts";
import type { Stage } from "./faults.ts";
import { type Load, startLoad } from "./load.ts";
import { readLoadLog, type Request, requestsOf } from "./load-log.ts";
import { NotificationLogs } from "./notification-log.ts";
import { type Occurrence, type Row, rowsOf } from "./report.ts";
import { type Act, killsOf, type Plan, schedule } from "./schedule.ts";
import { Supervisor } from "../servers/supervisor.ts";
import { type Change, type Evidence, savedChanges, verify, type Violation } from "./verify.ts";

export interface ChaosOptions extends Plan {
  /** The folder of all logs. */
  readonly logs: string;
  /** Changes in a second. */
  readonly rate: number;
  readonly users: number;
  /** How long something is frozen, swallowed or full. */
  readonly holdSeconds: number;
  /** Ends the acts early; what was done so far is verified. */
  readonly signal?: AbortSignal;
}

export interface Outcome {
  readonly violations: readonly Violation[];
  readonly rows: readonly Row[];
  /** How many processes were killed. */
  readonly kills: number;
  readonly durationMs: number;
}

const replicas = perService(() => 2);
/** A recovery that takes longer counts as none. */
const recoverySeconds = 120;
/** How long all that piled up in the storm may take. */
const calmSeconds = 300;
/** Room for all events of the longest run; the rest is filled up when it's to be full. */
const diskMegabytes = 1_024;

/** Starts the whole event flow, hurts it under load as planned, and verifies that every promise was kept. */
export async function runChaos(options: ChaosOptions): Promise<Outcome> {
  const { logs, seed, rate, users, holdSeconds, signal } = options;
  const begun = performance.now();
  const acts = schedule(options);
  mkdirSync(logs, { recursive: true });
  const clock = join(logs, "clock");
  setClock(clock, 0);
  const proxies = await startToxiproxy({ log: join(logs, "toxiproxy.log") });
  const supervisor = new Supervisor();
  let system: System | undefined;
  try {
    let disk: SmallDisk | undefined;
    system = await step("start the event flow, two replicas of each service", () =>
      startSystem({
        ...{ replicas, logs, clock },
        via: (part, port) => proxies.lead(part, port),
        brokerDisk: async (dataDir) => (disk = await mountSmallDisk(dataDir, diskMegabytes)).enter,
      }),
    );
    if (disk === undefined) throw new Error("The broker has no disk of its own");
    const running = system;
    const { postgres, kafka, valkey, pods } = running;
    const everyPod = Object.values(pods).flat();
    for (const server of [postgres, kafka, valkey, proxies]) supervisor.watch(server);
    for (const { app, daprd } of everyPod) {
      supervisor.watch(app, `${app.url}${probes.liveness}`);
      supervisor.watch(daprd, `http://127.0.0.1:${daprd.httpPort}/v1.0/healthz/outbound`);
    }
    const loadLog = join(logs, "load.log");
    const backends = pods.backend.map(({ app }) => app.url);
    const load = startLoad({ log: loadLog, backends, seed, rate, users });
    const notificationLogs = new NotificationLogs(pods.notificationService.map(({ app }) => app.log));
    const stage: Stage = { system: running, supervisor, proxies, disk, clock, holdSeconds };
    await sleep(2_000);
    const { occurrences, unrecovered } = await play(acts, { stage, load, notificationLogs, signal });
    await load.stop();
    const requests = requestsOf(readLoadLog(loadLog));
    await step("let the last events arrive", () => allHandled(running, requests, notificationLogs));
    const evidence = await step("read the database and the topics", async (): Promise<Evidence> => {
      const tasks = await savedTasks(postgres.port);
      const outbox = await waitingEvents(postgres.port);
      const topics = await readTopics(kafka.brokers);
      notificationLogs.read();
      const { handlings, givenUp } = notificationLogs;
      const counted = await countedChanges(postgres.port);
      return { requests, tasks, outbox, ...topics, handlings, givenUp, counted };
    });
    const violations = [...verify(evidence), ...unrecovered];
    const kills = occurrences.reduce((sum, occurrence) => sum + occurrence.kills, 0);
    return { violations, rows: rowsOf(occurrences, evidence), kills, durationMs: performance.now() - begun };
  } finally {
    await supervisor.stop();
    await system?.stop();
    await proxies.stop();
  }
}

interface Play {
  readonly stage: Stage;
  readonly load: Load;
  readonly notificationLogs: NotificationLogs;
  readonly signal: AbortSignal | undefined;
}

/** Plays the acts; in the storm recovery is waited for once, at its end. */
async function play(acts: readonly Act[], { stage, load, notificationLogs, signal }: Play) {
  const occurrences: Occurrence[] = [];
  const unrecovered: Violation[] = [];
  const killsInAll = killsOf(acts);
  let kills = 0;
  const recovery = (ended: number, timeoutSeconds: number) =>
    recovered(ended, timeoutSeconds, { stage, load, notificationLogs });
  /** Does something to the system and waits for its recovery; what goes wrong in it is a violation. */
  const note = async (fault: string, timeoutSeconds: number, inflict: () => Promise<number>): Promise<void> => {
    const begun = Date.now();
    let ended = begun;
    let killed = 0;
    let recoveredAt: number | undefined;
    try {
      killed = await inflict();
      ended = Date.now();
      recoveredAt = await recovery(ended, timeoutSeconds);
      say(`    recovered after ${seconds(recoveredAt - ended)}`);
    } catch (error) {
      unrecovered.push({ kind: "not recovered", text: `${fault}: ${(error as Error).message}` });
    }
    occurrences.push({ fault, kills: killed, begun, ended, recovered: recoveredAt });
  };
  for (const { fault, chance } of acts.filter(({ pauseMs }) => pauseMs === undefined)) {
    if (signal?.aborted) break;
    kills += fault.kills;
    await step(`${fault.title ?? fault.name} (${kills} of ${killsInAll} kills)`, () =>
      note(fault.name, recoverySeconds, async () => {
        await fault.inflict(stage, chance);
        return fault.kills;
      }),
    );
    // What came in meanwhile is the fault's own, not the next one's.
    await recovery(Date.now(), calmSeconds).catch(() => undefined);
  }
  const storm = acts.filter(({ pauseMs }) => pauseMs !== undefined);
  if (storm.length === 0 || signal?.aborted) return { occurrences, unrecovered };
  await step(`a storm of ${storm.length} kills, and the calm after it`, () =>
    note("storm of kills", calmSeconds, async () => {
      let killed = 0;
      for (const { fault, chance, pauseMs } of storm) {
        if (signal?.aborted) break;
        await fault.inflict(stage, chance);
        killed += 1;
        if (killed % 20 === 0) {
          say(`    ${kills + killed} of ${killsInAll} kills, ${load.acknowledgements.length} changes acknowledged`);
        }
        await sleep(pauseMs);
      }
      return killed;
    }),
  );
  return { occurrences, unrecovered };
}

/** Waits until all that was acknowledged before a moment is handled and everything is ready; resolves to when that was so. */
async function recovered(
  before: number,
  timeoutSeconds: number,
  { stage, load, notificationLogs }: Omit<Play, "signal">,
): Promise<number> {
  const { supervisor, system } = stage;
  let left = load.acknowledgements.filter(({ at }) => at <= before);
  return waitFor(
    "the system to recover",
    timeoutSeconds,
    async () => {
      notificationLogs.read();
      left = left.filter((change) => !notificationLogs.isHandled(change));
      return left.length === 0 && supervisor.allUp && (await isReady(system)) ? Date.now() : undefined;
    },
    () => `${left.length} acknowledged changes are not handled`,
  );
}

async function isReady(system: System): Promise<boolean> {
  const answers = await Promise.all(
    Object.values(system.pods)
      .flat()
      .map(({ app }) => fetch(`${app.url}${probes.readiness}`, { signal: AbortSignal.timeout(3_000) })),
  );
  return answers.every(({ ok }) => ok);
}

/** Waits until each change that the database has is handled; what is not is for the verifier to tell. */
async function allHandled(
  { postgres }: System,
  requests: readonly Request[],
  notificationLogs: NotificationLogs,
): Promise<void> {
  const { changes } = savedChanges({ requests, tasks: await savedTasks(postgres.port) });
  let left: readonly Change[] = changes;
  try {
    await waitFor(`all of ${changes.length} changes to be handled and counted`, calmSeconds, async () => {
      notificationLogs.read();
      left = left.filter((change) => !notificationLogs.isHandled(change));
      if (left.length > 0 || (await waitingEvents(postgres.port)).length > 0) return undefined;
      return (await countedChanges(postgres.port)).length >= changes.length ? true : undefined;
    });
  } catch (error) {
    say(`    ${(error as Error).message}; ${left.length} are not`);
  }
}

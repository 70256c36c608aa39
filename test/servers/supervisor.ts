import { setTimeout as sleep } from "node:timers/promises";
import { say } from "../tools/progress.ts";
import type { Server } from "./process.ts";

/** The kubelet starts what has ended at once, and then ever more slowly; here it's always after this. */
const pauseMs = 500;

/** As the services' liveness probes in components/dapr-service.ts. */
const probe = { periodMs: 10_000, timeoutMs: 3_000, failures: 3 } as const;

interface Watched {
  readonly server: Server;
  /** Asked by the liveness probe. */
  readonly health: string | undefined;
  /** Whether somebody else stops and starts it at the moment. */
  held: boolean;
  up: boolean;
}

/** Starts again what has ended, as the kubelet does, and restarts what has hung for long. */
export class Supervisor {
  readonly #watched: Watched[] = [];
  readonly #loops: Promise<void>[] = [];
  readonly #stopping = new AbortController();
  readonly #onEnd: (server: Server) => void;

  /** Calls `onEnd` when something has ended by itself. */
  constructor(onEnd: (server: Server) => void = () => undefined) {
    this.#onEnd = onEnd;
  }

  /** From now on sees to a server. */
  watch(server: Server, health?: string): void {
    const watched = { server, health, held: false, up: true };
    this.#watched.push(watched);
    this.#loops.push(this.#keepUp(watched), this.#probe(watched));
  }

  /** Leaves a server to somebody else for as long as an action takes. */
  async without(server: Server, action: () => Promise<void>): Promise<void> {
    const watched = this.#watched.find((each) => each.server === server);
    if (watched === undefined) throw new Error(`${server.name} is not watched`);
    watched.held = true;
    try {
      await action();
    } finally {
      watched.held = false;
    }
  }

  /** Whether everything runs, and was ready once since it was started. */
  get allUp(): boolean {
    return this.#watched.every(({ server, up }) => up && server.isRunning());
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#loops);
  }

  async #keepUp(watched: Watched): Promise<void> {
    const { server } = watched;
    while (!this.#stopping.signal.aborted) {
      if (watched.held || server.isRunning()) {
        await sleep(100);
        continue;
      }
      watched.up = false;
      this.#onEnd(server);
      await sleep(pauseMs);
      try {
        await server.start();
        watched.up = true;
      } catch {
        // It ended again, and its log says why.
      }
    }
  }

  async #probe({ server, health }: Watched): Promise<void> {
    if (health === undefined) return;
    let failures = 0;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await sleep(probe.periodMs, undefined, { signal }).catch(() => undefined);
      failures = !server.isRunning() || (await isHealthy(health)) ? 0 : failures + 1;
      if (failures < probe.failures) continue;
      say(`    ${server.name} hung, and is restarted`);
      await server.terminate();
      failures = 0;
    }
  }
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(probe.timeoutMs) })).ok;
  } catch {
    return false;
  }
}

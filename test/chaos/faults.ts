/** What is done to the system. */
import { closeSync, existsSync, fstatSync, openSync, readSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { serviceKeys, type ServiceKey, services } from "@event-flow/events";
import { preStopSeconds } from "../../components/delivery.ts";
import { setClock } from "../servers/clock.ts";
import type { Server } from "../servers/process.ts";
import type { SmallDisk } from "../servers/small-disk.ts";
import type { BackingServer, Pod, System } from "../servers/system.ts";
import type { Toxiproxy } from "../servers/toxiproxy.ts";
import { waitFor } from "../tools/progress.ts";
import { clockStepMs } from "./notification-log.ts";
import type { Random } from "./random.ts";
import type { Supervisor } from "../servers/supervisor.ts";

/** The system under test with what it takes to hurt it. */
export interface Stage {
  readonly system: System;
  readonly supervisor: Supervisor;
  readonly proxies: Toxiproxy;
  readonly disk: SmallDisk;
  /** The file that sets the services' clock. */
  readonly clock: string;
  /** How long something is frozen, swallowed or full. */
  readonly holdSeconds: number;
}

/** Something of the system that can be killed or frozen: of replicas one by chance. */
interface Part {
  readonly name: string;
  readonly server: (system: System, chance: Random) => Server;
}

/** A service and its sidecar. */
function podParts(service: ServiceKey): Part[] {
  const name = services[service].name.replaceAll("-", " ");
  return [
    { name, server: ({ pods }, chance) => chance.pick(pods[service]).app },
    { name: `${name}'s sidecar`, server: ({ pods }, chance) => chance.pick(pods[service]).daprd },
  ];
}

const parts: readonly Part[] = [
  ...podParts("backend"),
  { name: "relay", server: relay },
  ...serviceKeys.filter((service) => service !== "backend").flatMap(podParts),
  { name: "broker", server: ({ kafka }) => kafka },
  { name: "Valkey", server: ({ valkey }) => valkey },
  { name: "PostgreSQL", server: ({ postgres }) => postgres },
];

/** The backend that relays at the moment. */
function relay({ pods }: System): Server {
  const backends = pods.backend.map(({ app }) => app);
  return backends.reduce((a, b) => (lastPublished(b.log) > lastPublished(a.log) ? b : a));
}

/** When a backend last logged that it published an event, in milliseconds since 1970. */
function lastPublished(log: string): number {
  const end = lastBytes(log, 256 * 1024).split("\n");
  const line = end.slice(1).findLast((text) => text.includes('"msg":"Published event'));
  return Number(/"time":(\d+)/.exec(line ?? "")?.[1] ?? 0);
}

function lastBytes(file: string, count: number): string {
  if (!existsSync(file)) return "";
  const descriptor = openSync(file, "r");
  try {
    const { size } = fstatSync(descriptor);
    const buffer = Buffer.alloc(Math.min(size, count));
    readSync(descriptor, buffer, 0, buffer.length, size - buffer.length);
    return buffer.toString("utf8");
  } finally {
    closeSync(descriptor);
  }
}

export interface Fault {
  /** What the report calls it. */
  readonly name: string;
  /** What it's called while it's done. @default its name */
  readonly title?: string;
  /** How many processes it kills. */
  readonly kills: number;
  /** Does it; resolves when it's over, and the system is left to recover. */
  readonly inflict: (stage: Stage, chance: Random) => Promise<void>;
}

function kill(part: Part): Fault {
  return {
    name: `kill: ${part.name}`,
    kills: 1,
    inflict: async (stage, chance) => {
      const server = part.server(stage.system, chance);
      // In a storm it may just have ended; while it starts it can be killed, too.
      await waitFor(`${server.name} to run`, 60, () => Promise.resolve(server.isRunning() ? true : undefined));
      await server.kill();
    },
  };
}

function freeze(part: Part): Fault {
  return {
    name: `freeze: ${part.name}`,
    kills: 0,
    inflict: async (stage, chance) => {
      const server = part.server(stage.system, chance);
      server.pause();
      await sleep(stage.holdSeconds * 1_000);
      server.resume();
    },
  };
}

/** The ways between the parts, by the server that they lead to. */
const ways: readonly (readonly [string, BackingServer])[] = [
  ["backend–PostgreSQL", "postgres"],
  ["sidecars–broker", "kafka"],
  ["sidecars–Valkey", "valkey"],
];

function sever([name, server]: (typeof ways)[number]): Fault {
  return { name: `severed connections: ${name}`, kills: 0, inflict: ({ proxies }) => proxies.sever(server) };
}

function swallow([name, server]: (typeof ways)[number]): Fault {
  return {
    name: `black hole: ${name}`,
    kills: 0,
    inflict: async ({ proxies, holdSeconds }) => {
      await proxies.swallow(server);
      await sleep(holdSeconds * 1_000);
      await proxies.release(server);
    },
  };
}

/** The clock is wrong for a while, in either direction, and set right again. */
function step(name: string, file: (stage: Stage) => string): Fault {
  return {
    name: `clock step: ${name}`,
    kills: 0,
    inflict: async (stage, chance) => {
      const hour = clockStepMs / 1_000;
      for (const offset of chance.shuffle([hour, -hour])) {
        setClock(file(stage), offset);
        await sleep(2_000);
        setClock(file(stage), 0);
        await sleep(2_000);
      }
    },
  };
}

const fullDisk: Fault = {
  name: "full disk: broker",
  kills: 0,
  inflict: async ({ disk, holdSeconds }) => {
    await disk.fill();
    await sleep(holdSeconds * 1_000);
    disk.free();
  },
};

/** Each pod ends as in a cluster, and its successor is ready before the next one's turn; the services at the same time. */
const rollServices: Fault = {
  name: "rolling restart: services",
  kills: 0,
  inflict: async ({ system, supervisor }) => {
    const roll = async (pods: readonly Pod[]) => {
      for (const { app, daprd } of pods) {
        await supervisor.without(app, () =>
          supervisor.without(daprd, async () => {
            // As a pod ends: the service later than its sidecar.
            const appGone = sleep(preStopSeconds * 1_000).then(() => app.terminate());
            await Promise.all([appGone, daprd.terminate()]);
            await Promise.all([app.start(), daprd.start()]);
          }),
        );
        await system.ready();
      }
    };
    await Promise.all(Object.values(system.pods).map(roll));
  },
};

const rollServers: Fault = {
  name: "rolling restart: backing servers",
  kills: 0,
  inflict: async ({ system, supervisor }) => {
    const { postgres, kafka, valkey } = system;
    // PostgreSQL waits for its sessions on SIGTERM; its image's stop signal is this one.
    for (const [server, signal] of [[valkey], [postgres, "SIGINT"], [kafka]] as const) {
      await supervisor.without(server, async () => {
        await server.terminate(signal);
        await server.start();
      });
    }
    await waitFor("everything to be up", 60, () => Promise.resolve(supervisor.allUp ? true : undefined));
  },
};

export const kills: readonly Fault[] = parts.map(kill);

/** What is done by itself. */
export const faults: readonly Fault[] = [
  ...kills,
  ...parts.map(freeze),
  fullDisk,
  ...ways.map(sever),
  ...ways.map(swallow),
  step("PostgreSQL", ({ system }) => system.postgres.clock),
  step("services", ({ clock }) => clock),
  rollServices,
  rollServers,
];

/** Two at the same time, of which one at least kills: what is frozen stays so while the other starts again. */
export function pair(chance: Random): Fault {
  const [first, second] = chance.shuffle(parts).slice(0, 2);
  const both = [...(first ? [kill(first)] : []), ...(second ? [chance.pick([kill, freeze])(second)] : [])];
  return {
    name: "pairs of kills and freezes",
    title: both.map(({ name }) => name).join(" and "),
    kills: both.reduce((sum, fault) => sum + fault.kills, 0),
    inflict: async (stage, chance) => {
      await Promise.all(both.map((fault) => fault.inflict(stage, chance)));
    },
  };
}

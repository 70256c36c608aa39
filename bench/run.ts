import * as tools from "../test/tools/go-tools.ts";
import { buildTools } from "../test/tools/index.ts";
import { say, step } from "../test/tools/progress.ts";
import { servers } from "../test/tools/root-filesystems.ts";
import { measureKafka } from "./kafka-limit.ts";
import { describeMachine, describeVersions } from "./machine.ts";
import { compileServices, type PeerName } from "./peers.ts";
import { fullPlan, quickPlan } from "./plan.ts";
import { profileServices } from "./profile.ts";
import { recipePackages } from "./python.ts";
import { measureReplicas } from "./replicas.ts";
import type { Replicas, Results, Visit } from "./results.ts";
import { measureSizes } from "./sizes.ts";
import { startStage } from "./stage.ts";
import { userMaker } from "./users.ts";
import { visit } from "./visit.ts";

/** In the order of their turns. */
const peers: readonly PeerName[] = ["limit", "recipe", "in-request", "event-flow"];

export interface BenchOptions {
  readonly quick: boolean;
  readonly profile: boolean;
  /** Decides which users there are. */
  readonly seed: number;
}

/** Measures all peers side by side, in turns, so that what else the machine does hits each. */
export async function runBench({ quick, profile, seed }: BenchOptions): Promise<Results> {
  const plan = quick ? quickPlan : fullPlan;
  await buildTools([servers, tools.daprd, tools.vegeta, recipePackages]);
  await step("compile the services", compileServices);
  const machine = await describeMachine();
  const versions = await describeVersions();
  say(`The seed is ${seed}. The load before was ${machine.loadBefore}.`);
  const users = userMaker(seed);
  const stage = await step("start PostgreSQL, Kafka and Valkey", startStage);
  try {
    const visits: Visit[] = [];
    for (let round = 1; round <= plan.rounds; round += 1) {
      for (const peer of peers) {
        visits.push(await step(`round ${round} of ${plan.rounds}: ${peer}`, () => visit(stage, peer, plan, users())));
      }
    }
    const replicas: Replicas[] = [];
    for (let count = 1; count <= plan.replicas; count += 1) {
      replicas.push(await step(`${count} notification services`, () => measureReplicas(stage, count, plan, users())));
    }
    const kafka = await step("Kafka's own producer and consumer", () => measureKafka(stage, plan));
    const profiles = profile ? await step("profile the services", () => profileServices(stage, plan, users())) : [];
    return {
      date: new Date().toISOString(),
      seed,
      quick,
      plan,
      machine,
      versions,
      visits,
      replicas,
      kafka,
      sizes: measureSizes(),
      profiles,
    };
  } finally {
    await stage.stop();
  }
}

/**
 * Checks that a sidecar will be able to use a broker that asks for SASL by TLS, and says what is wrong if it won't, and what
 * mends it: the sidecar itself only ends and is started again. Runs as a Kubernetes Job before the services get new
 * credentials.
 */
import { isIP } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { TLSSocket } from "node:tls";
import { allTopics, subscribers } from "@event-flow/events";
import * as kafka from "@platformatic/kafka";
import { z } from "zod";
import { readEnvironment, saslMechanism, secret } from "./environment.ts";
import { startOrExit } from "./server.ts";

const text = () => z.string("must not be empty").min(1, "must not be empty");
const environment = {
  BROKERS: text(),
  SASL_USERNAME: text(),
  SASL_PASSWORD: text().meta(secret),
  SASL_MECHANISM: saslMechanism(),
  /** A CA of the brokers' own, in PEM. */
  CA_CERT: z.string().optional(),
};
type Settings = ReturnType<typeof readEnvironment<typeof environment>>;

/** How long a broker may take for the sign-in, and for each answer after it, in milliseconds. */
const timeout = 10_000;

/** Resolves to what is wrong, line by line. */
async function check(broker: string, settings: Settings): Promise<string[]> {
  const [host = "", port = ""] = broker.split(":");
  const { SASL_USERNAME: username, SASL_PASSWORD: password, SASL_MECHANISM: mechanism, CA_CERT: ca } = settings;
  const connection = new kafka.Connection("event-flow-check", {
    connectTimeout: timeout,
    requestTimeout: timeout,
    tls: ca === undefined ? {} : { ca },
    tlsServerName: isIP(host) === 0,
    sasl: { mechanism, username, password },
  });
  // What ends a connection is told twice: `connect` rejects, and whoever listens hears of it. Without a listener that is thrown.
  connection.on("error", () => undefined);
  try {
    await connection.connect(host, Number(port));
    const faults = await findFaults(connection, username);
    return faults.length === 0 ? [] : [`${broker} takes ${username}, but:`, ...faults];
  } catch (error) {
    if (!(error instanceof kafka.GenericError)) throw error;
    const { socket } = connection;
    return [explain(error, broker, socket instanceof TLSSocket && socket.authorized, settings)];
  }
}

function explain(error: Error, broker: string, secure: boolean, settings: Settings): string {
  const { SASL_USERNAME: username, SASL_MECHANISM: mechanism, CA_CERT: ca } = settings;
  const causes = listCauses(error);
  const { code = "", message }: NodeJS.ErrnoException = causes.at(-1) ?? error;
  const timedOut = causes.some((cause) => cause instanceof kafka.TimeoutError);
  const why = timedOut ? `no answer within ${timeout / 1_000} s` : message.replace(/;.*|\.$/s, "");
  if (!secure && /CERT|SELF_SIGNED|UNABLE_TO|ALTNAME/.test(code)) {
    const by = ca === undefined ? "the public CAs" : "the CA in event-flow:redpandaCa";
    return `The certificate of ${broker} can't be verified by ${by}: ${why}.`;
  }
  if (!secure && (code.startsWith("ERR_SSL") || message.includes("before secure TLS connection"))) {
    return `${broker} doesn't speak TLS.`;
  }
  if (!secure) return `${broker} (event-flow:redpandaBrokers) can't be reached: ${why}.`;
  switch (causes.find((cause) => cause instanceof kafka.ProtocolError)?.["apiId"]) {
    case "UNSUPPORTED_SASL_MECHANISM": {
      const answer: unknown = causes.find((cause) => cause instanceof kafka.ResponseError)?.["response"];
      const offered = (answer as { mechanisms: string[] }).mechanisms.join(", ");
      return `${broker} doesn't take ${mechanism} (event-flow:redpandaMechanism), but ${offered}.`;
    }
    case "SASL_AUTHENTICATION_FAILED":
      return `${broker} refuses the user ${username} with the password in event-flow:redpandaPassword.`;
    default:
      return `${broker} speaks TLS, but not Kafka's protocol as it should: ${why}.`;
  }
}

/** An error and what led to it, down to the first cause. */
function listCauses(error: unknown): Error[] {
  if (!(error instanceof Error)) return [];
  const together: unknown[] = error instanceof AggregateError ? error.errors : [];
  return [error, ...[error.cause, ...together].flatMap(listCauses)];
}

/** What the services need and don't get, each with the command that mends it. */
async function findFaults(connection: kafka.Connection, username: string): Promise<string[]> {
  const allow = `rpk security acl create --allow-principal User:${username} --operation`;
  const faults: string[] = [];

  const found = await describe(connection, allTopics, false);
  const refused = allTopics.filter((name) => found.get(name) === "refused");
  if (refused.length > 0) {
    faults.push(`${username} may not use every topic: ${allow} read,write,describe --topic ${refused.join(",")}`);
  }
  let missing = allTopics.filter((name) => found.get(name) === "missing");
  for (let tries = 0; missing.length > 0 && tries < 5; tries += 1) {
    if (tries > 0) await sleep(1_000);
    // As sidecars do, this asks for them to be made, which takes a moment and may be refused.
    const asked = await describe(connection, missing, true);
    missing = missing.filter((name) => asked.has(name));
  }
  if (missing.length > 0) {
    faults.push(
      `Topics are missing, and the broker makes none for ${username}: rpk topic create -p 3 ${missing.join(" ")}`,
    );
  }

  const groups = await refusedGroups(connection);
  if (groups.length > 0) {
    faults.push(`${username} may not read as every group: ${allow} read --group ${groups.join(",")}`);
  }
  return faults;
}

/** The groups of those who read that aren't allowed to. */
async function refusedGroups(connection: kafka.Connection): Promise<string[]> {
  const { GROUP } = kafka.FindCoordinatorKeyTypes;
  const refused: string[] = [];
  for (const { appId } of subscribers) {
    // One at a time: the request has room for more only from version 4 on.
    const { coordinators } = await answer(kafka.findCoordinatorV2.api.async(connection, GROUP, [appId]));
    if (coordinators.some(({ errorCode }) => errors[errorCode] === "GROUP_AUTHORIZATION_FAILED")) refused.push(appId);
  }
  return refused;
}

const errors = kafka.protocolErrorsCodesById;

/** What is wrong with topics, by their names. Other errors, such as that one has no leader yet, pass by themselves. */
async function describe(connection: kafka.Connection, names: readonly string[], make: boolean) {
  const { READ, WRITE, DESCRIBE } = kafka.AclOperations;
  // The first version that tells what the user may do: of Redpanda's, those before 24.2 don't have it.
  const { topics } = await answer(kafka.metadataV8.api.async(connection, [...names], make, true));
  const wrong = new Map<string | null, "missing" | "refused">();
  for (const { name, errorCode, topicAuthorizedOperations: operations } of topics) {
    // Bits, in a number that is below zero where they aren't told.
    const mayUse = operations < 0 || [READ, WRITE, DESCRIBE].every((one) => (operations & (1 << one)) !== 0);
    if (errors[errorCode] === "UNKNOWN_TOPIC_OR_PARTITION") wrong.set(name, "missing");
    else if (errors[errorCode] === "TOPIC_AUTHORIZATION_FAILED" || !mayUse) wrong.set(name, "refused");
  }
  return wrong;
}

/** The client rejects an answer that has any error in it. */
async function answer<T>(asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof kafka.ResponseError) return error["response"] as T;
    throw error;
  }
}

await startOrExit(async () => {
  const settings = readEnvironment(environment, process.env);
  const problems: string[] = [];
  for (const broker of settings.BROKERS.split(",")) {
    const found = await check(broker, settings);
    if (found.length === 0) {
      console.log(`${broker} takes ${settings.SASL_USERNAME}, and has every topic.`);
      // Clients need but one to find the others. What the connection holds ends with the process.
      process.exit(0);
    }
    problems.push(...found);
  }
  console.log(problems.join("\n"));
  process.exit(1);
});

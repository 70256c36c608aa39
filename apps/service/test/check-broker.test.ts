import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type AddressInfo, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { allTopics, subscribers } from "@event-flow/events";
import {
  type Acl,
  AclOperations,
  AclPermissionTypes,
  Admin,
  ResourcePatternTypes,
  ResourceTypes,
} from "@platformatic/kafka";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { authority } from "../../../test/cluster/pki.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { type SecuredKafka, startSecuredKafka } from "../../../test/servers/secured-kafka.ts";
import { runService } from "../../../test/servers/service.ts";

const password = "s3cr3t-hunter2";
const wrongPassword = "wr0ng-hunter2";
const topics = [...allTopics];
const groups = subscribers.map(({ appId }) => appId);
const { READ, WRITE, DESCRIBE, ALL } = AclOperations;
const { TOPIC, GROUP } = ResourceTypes;

let kafka: SecuredKafka;
let admin: Admin;
/** Another authority than the broker's: its certificate, and a server's of it. */
let other: { readonly ca: string; readonly cert: string; readonly key: string };
const servers: Server[] = [];

beforeAll(async () => {
  kafka = await startSecuredKafka(["event-flow", "nobody", "writer", "maker"], password, {
    mechanisms: ["SCRAM-SHA-256"],
    makesTopics: false,
  });
  admin = new Admin({ clientId: "test", bootstrapBrokers: [kafka.admin] });
  await admin.createTopics({ topics, partitions: 1, replicas: 1 });
  await admin.createAcls({
    creations: [
      ...[READ, WRITE, DESCRIBE].map((operation) => allowTopics("event-flow", operation)),
      ...allowGroups("event-flow"),
      allowTopics("writer", WRITE),
      ...allowGroups("writer"),
      allowTopics("maker", ALL),
      ...allowGroups("maker"),
    ],
  });

  const dir = mkdtempSync(join(tmpdir(), "event-flow-authority-"));
  const issue = await authority(dir, "Another CA");
  await issue("server", "CN=localhost", [{ type: "dns", value: "localhost" }]);
  const [ca = "", cert = "", key = ""] = ["ca.crt", "server.crt", "server.key"].map((file) =>
    readFileSync(join(dir, file), "utf8"),
  );
  other = { ca, cert, key };
  rmSync(dir, { recursive: true });
});

afterAll(async () => {
  for (const server of servers) server.close();
  await admin.close();
  await kafka.stop();
});

/** What the README lets a user do: with the topics by their prefix, with the groups by their names. */
function allowTopics(user: string, operation: Acl["operation"]): Acl {
  const pattern = { resourceName: "task-events.", resourcePatternType: ResourcePatternTypes.PREFIXED };
  return allow(user, { resourceType: TOPIC, ...pattern, operation });
}

function allowGroups(user: string): Acl[] {
  return groups.map((resourceName) =>
    allow(user, {
      resourceType: GROUP,
      resourceName,
      resourcePatternType: ResourcePatternTypes.LITERAL,
      operation: READ,
    }),
  );
}

function allow(
  user: string,
  what: Pick<Acl, "resourceType" | "resourceName" | "resourcePatternType" | "operation">,
): Acl {
  return { ...what, principal: `User:${user}`, host: "*", permissionType: AclPermissionTypes.ALLOW };
}

/** Runs a check that succeeds, but for what a test changes. */
async function check(changed: Readonly<Record<string, string>> = {}, ca = kafka.ca) {
  const environment = {
    BROKERS: kafka.broker,
    SASL_USERNAME: "event-flow",
    SASL_PASSWORD: password,
    SASL_MECHANISM: "SCRAM-SHA-256",
    ...(ca === "" ? {} : { CA_CERT: ca }),
    ...changed,
  };
  const began = performance.now();
  const { exitCode, output, errors } = await runService("service", environment, "src/check-broker.ts");
  for (const shown of [password, wrongPassword]) expect(output + errors).not.toContain(shown);
  // Ten seconds for an answer, and room for a busy machine.
  expect(performance.now() - began).toBeLessThan(20_000);
  expect(errors).toBe("");
  return { exitCode, lines: output.trimEnd().split("\n") };
}

/** A server on localhost, by its address. */
async function listen(server: Server): Promise<string> {
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `localhost:${(server.address() as AddressInfo).port}`;
}

const allowing = (user: string) => `rpk security acl create --allow-principal User:${user} --operation`;

test("a user who has what the README tells to make is taken", async () => {
  expect(await check()).toEqual({
    exitCode: 0,
    lines: [`${kafka.broker} takes event-flow, and has every topic.`],
  });
});

test("one broker of several is enough", async () => {
  const away = `localhost:${await freePort()}`;
  expect(await check({ BROKERS: `${away},${kafka.broker}` })).toEqual({
    exitCode: 0,
    lines: [`${kafka.broker} takes event-flow, and has every topic.`],
  });
});

test.each([
  ["a wrong password", { SASL_PASSWORD: wrongPassword }, "event-flow"],
  ["an unknown user", { SASL_USERNAME: "stranger" }, "stranger"],
])("%s is told as such", async (_what, changed, user) => {
  expect(await check(changed)).toEqual({
    exitCode: 1,
    lines: [`${kafka.broker} refuses the user ${user} with the password in event-flow:redpandaPassword.`],
  });
});

test("a mechanism that the broker doesn't take is told with those that it takes", async () => {
  expect(await check({ SASL_MECHANISM: "SCRAM-SHA-512" })).toEqual({
    exitCode: 1,
    lines: [`${kafka.broker} doesn't take SCRAM-SHA-512 (event-flow:redpandaMechanism), but SCRAM-SHA-256.`],
  });
});

test("a certificate that can't be verified is told as such", async () => {
  const told = (broker: string, by: string) => `The certificate of ${broker} can't be verified by ${by}: `;
  expect(await check({}, other.ca)).toEqual({
    exitCode: 1,
    lines: [`${told(kafka.broker, "the CA in event-flow:redpandaCa")}unable to verify the first certificate.`],
  });
  expect(await check({}, "")).toEqual({
    exitCode: 1,
    lines: [`${told(kafka.broker, "the public CAs")}unable to verify the first certificate.`],
  });
  const unnamed = kafka.broker.replace("localhost", "127.0.0.1");
  const { exitCode, lines } = await check({ BROKERS: unnamed });
  expect([exitCode, lines.length]).toEqual([1, 1]);
  expect(lines[0]).toContain(`${told(unnamed, "the CA in event-flow:redpandaCa")}Hostname/IP does not match`);
});

test("a broker that can't be reached is told as such", async () => {
  const port = await freePort();
  expect(await check({ BROKERS: `127.0.0.1:${port},nowhere.invalid:9092` })).toEqual({
    exitCode: 1,
    lines: [
      `127.0.0.1:${port} (event-flow:redpandaBrokers) can't be reached: connect ECONNREFUSED 127.0.0.1:${port}.`,
      expect.stringMatching(/^nowhere\.invalid:9092 \(event-flow:redpandaBrokers\) can't be reached: getaddrinfo E/),
    ],
  });
});

test("a broker that never answers is given up, before TLS and after", async () => {
  const silent = await listen(createServer());
  const silentInTls = await listen(createTlsServer(other));
  const [before, after] = await Promise.all([check({ BROKERS: silent }), check({ BROKERS: silentInTls }, other.ca)]);
  expect(before).toEqual({
    exitCode: 1,
    lines: [`${silent} (event-flow:redpandaBrokers) can't be reached: no answer within 10 s.`],
  });
  expect(after).toEqual({
    exitCode: 1,
    lines: [`${silentInTls} speaks TLS, but not Kafka's protocol as it should: no answer within 10 s.`],
  });
});

test("what is no broker, or one in plain text, is told as such", async () => {
  const { brokers } = inject("servers");
  expect(await check({ BROKERS: brokers })).toEqual({ exitCode: 1, lines: [`${brokers} doesn't speak TLS.`] });
  const http = await listen(createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")));
  expect(await check({ BROKERS: http })).toEqual({ exitCode: 1, lines: [`${http} doesn't speak TLS.`] });
  const https = await listen(
    createTlsServer(other, (socket) => {
      socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    }),
  );
  expect(await check({ BROKERS: https }, other.ca)).toEqual({
    exitCode: 1,
    lines: [`${https} speaks TLS, but not Kafka's protocol as it should: Connection closed while waiting for ready.`],
  });
});

test("a user who may do nothing, or too little, is told what allows it", async () => {
  const use = (user: string) =>
    `${user} may not use every topic: ${allowing(user)} read,write,describe --topic ${topics.join(",")}`;
  expect(await check({ SASL_USERNAME: "nobody" })).toEqual({
    exitCode: 1,
    lines: [
      `${kafka.broker} takes nobody, but:`,
      use("nobody"),
      `nobody may not read as every group: ${allowing("nobody")} read --group ${groups.join(",")}`,
    ],
  });
  expect(await check({ SASL_USERNAME: "writer" })).toEqual({
    exitCode: 1,
    lines: [`${kafka.broker} takes writer, but:`, use("writer")],
  });
});

test("topics that are missing are told, with what makes them", async () => {
  const [one = "", another = ""] = topics;
  await admin.deleteTopics({ topics: [one, another] });
  expect(await check()).toEqual({
    exitCode: 1,
    lines: [
      `${kafka.broker} takes event-flow, but:`,
      `Topics are missing, and the broker makes none for event-flow: rpk topic create -p 3 ${one} ${another}`,
    ],
  });
});

test("by SCRAM-SHA-512, topics are made for a user who may have them made", { timeout: 120_000 }, async () => {
  await kafka.restart({ mechanisms: ["SCRAM-SHA-256", "SCRAM-SHA-512"], makesTopics: true });
  const signIn = { SASL_MECHANISM: "SCRAM-SHA-512" };
  expect((await check(signIn)).lines[1]).toMatch(/^Topics are missing/);
  expect(await check({ ...signIn, SASL_USERNAME: "maker" })).toEqual({
    exitCode: 0,
    lines: [`${kafka.broker} takes maker, and has every topic.`],
  });
  expect((await check({ ...signIn, SASL_PASSWORD: wrongPassword })).exitCode).toBe(1);
  expect((await check(signIn)).exitCode).toBe(0);
});

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { secrets } from "@event-flow/events";
import { type Access, kubectl } from "../flow/access.ts";
import { token } from "../servers/token.ts";

export interface Load {
  readonly userId: string;
  /** Ends it, and says what became of the requests. */
  readonly stop: () => Promise<{ requests: number; created: number; failures: string[] }>;
}

/** Creates tasks of one new user, and lists those of others, some twenty requests a second, until it is stopped. */
export async function generateLoad(access: Access, url: string): Promise<Load> {
  const { name, keys } = secrets.todo;
  const encoded = await kubectl(access, "get", "secret", name, "-o", `jsonpath={.data.${keys.jwtSecret}}`);
  const key = Buffer.from(encoded, "base64").toString();
  const exp = Math.floor(Date.now() / 1000) + 3600;
  const userId = randomUUID();

  let running = true;
  let requests = 0;
  let created = 0;
  const failures: string[] = [];
  const send = async (method: "GET" | "POST", userId: string) => {
    requests += 1;
    const authorization = `Bearer ${token({ sub: userId, exp }, key)}`;
    try {
      const response = await fetch(`${url}/api/${userId}/tasks`, {
        method,
        headers: { authorization, ...(method === "POST" ? { "content-type": "application/json" } : {}) },
        ...(method === "POST" ? { body: JSON.stringify({ title: "Load" }) } : {}),
        signal: AbortSignal.timeout(20_000),
      });
      const body = await response.text();
      if (!response.ok) failures.push(`${method}: HTTP ${response.status} ${body}`);
      else if (method === "POST") created += 1;
    } catch (error) {
      const { message, cause } = error as Error;
      failures.push(`${method}: ${message} (${cause instanceof Error ? cause.message : ""})`);
    }
  };
  const worker = async (first: number) => {
    // All together they would ask for more than one user may.
    const reader = randomUUID();
    for (let turn = first; running; turn += 1) {
      // Few writes: what is looked at afterwards is one page of notifications.
      await (turn % 20 === 0 ? send("POST", userId) : send("GET", reader));
      await sleep(200);
    }
  };
  const workers = Promise.all([0, 5, 10, 15].map(worker));
  return {
    userId,
    stop: async () => {
      running = false;
      await workers;
      return { requests, created, failures };
    },
  };
}

/** `make try`, as a user has it: the event flow in a terminal. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { waitFor } from "../tools/progress.ts";
import { children } from "./process.ts";

const command = join(import.meta.dirname, "..", "..", "commands", "try.ts");

test("it shows an event's way, mends what is killed, and leaves nothing behind", { timeout: 120_000 }, async () => {
  const child = spawn(process.execPath, [command], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  }
  const said = (pattern: RegExp) =>
    waitFor(
      `it to say ${pattern.source}`,
      60,
      () => Promise.resolve(pattern.exec(output) ?? undefined),
      () => output,
    );
  try {
    await said(/Ctrl-C ends it all/);
    expect(output).toMatch(/handled and saved in the state store: NEW TASK: See an event arrive/);
    const [, backend = ""] = await said(/^backend +(http:\S+)\/docs$/m);
    expect((await fetch(`${backend}/docs/json`)).status).toBe(200);

    const [, sidecar = "", header = "", apiToken = ""] = await said(/^backend-daprd +(http:\S+) +(\S+): (\S+)$/m);
    expect((await fetch(`${sidecar}/v1.0/metadata`)).status).toBe(401);
    expect((await fetch(`${sidecar}/v1.0/metadata`, { headers: { [header]: apiToken } })).status).toBe(200);

    // The commands that it prints are what a reader runs.
    const [, token = ""] = await said(/token='(.*)'/);
    const [, tasks = ""] = await said(/(http:\S+\/tasks)$/m);
    const [, notifications = ""] = await said(/(http:\S+\/notifications)$/m);
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const create = (title: string) =>
      fetch(tasks, { method: "POST", headers, body: JSON.stringify({ title }) }).then(({ status }) => status);
    const told = (title: string) =>
      waitFor(
        `the notification of ${title}`,
        30,
        async () => ((await (await fetch(notifications, { headers })).text()).includes(title) ? true : undefined),
        () => output,
      );
    expect(await create("Try it")).toBe(201);
    await told("Try it");
    const [, stats = ""] = await said(/(http:\S+\/stats)$/m);
    await waitFor("the figures of it", 30, async () => {
      const { created } = (await (await fetch(stats, { headers })).json()) as { created: number };
      return created === 1 ? true : undefined;
    });

    const killed = children(child.pid ?? 0).find((pid) => commandLine(pid).includes("/notification-service/"));
    process.kill(killed ?? 0, "SIGKILL");
    expect(await create("Nobody is there to hear")).toBe(201);
    await said(/^notification-service ended; it is started again/m);
    await told("Nobody is there to hear");

    const servers = children(child.pid ?? 0);
    expect(servers.length).toBeGreaterThanOrEqual(7);
    child.kill("SIGINT");
    await once(child, "exit");
    expect(child.exitCode, output).toBe(0);
    expect(servers.filter((pid) => existsSync(`/proc/${pid}`))).toEqual([]);
    expect(output).toMatch(/It is gone, with its data/);
  } finally {
    child.kill("SIGKILL");
  }
});

function commandLine(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
}

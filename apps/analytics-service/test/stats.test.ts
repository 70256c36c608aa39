/** What the service answers, whatever the order in which the sidecar delivers. */
import { randomUUID } from "node:crypto";
import { services, type CloudEvent } from "@event-flow/events";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { random } from "../../../test/chaos/random.ts";
import { asSidecar, call } from "../../../test/servers/client.ts";
import { eventOf } from "../../../test/servers/events.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { createDatabase } from "../../../test/servers/postgres.ts";
import { startService, type Service } from "../../../test/servers/service.ts";
import { token } from "../../../test/servers/token.ts";
import { waitFor } from "../../../test/tools/progress.ts";
import type { Stats } from "../src/stats.ts";
import { figures, lives, type TaskEvent } from "./history.ts";

const { postgresPort } = inject("servers");
let service: Service;

beforeAll(async () => {
  const url = await createDatabase(postgresPort, "analytics_stats");
  service = await startService(services.analyticsService.name, await freePort(), { DATABASE_URL: url });
});

afterAll(async () => {
  expect(await service.stop()).toBe(0);
});

/** What the sidecar does with an event. */
async function deliver(event: TaskEvent): Promise<void> {
  const answer = await call("POST", `${service.url}/events/${event.type.replace("_", "-")}`, {
    body: event,
    headers: { "content-type": "application/cloudevents+json", ...asSidecar },
  });
  expect([answer.status, answer.body]).toEqual([200, { status: "SUCCESS" }]);
}

async function statsOf(user: string, query: Record<string, string> = {}): Promise<Stats> {
  const path = `/api/${user}/stats?${new URLSearchParams(query).toString()}`;
  const { status, body } = await call<Stats>("GET", `${service.url}${path}`, { user });
  expect([status, status === 200 ? "" : body]).toEqual([200, ""]);
  return body;
}

/** Sums of fractions depend on their order in the last digits. */
function nearly(stats: Stats) {
  const near = (seconds: number | null): unknown => (seconds === null ? null : expect.closeTo(seconds, 3));
  const { tasks, average_seconds, median_seconds } = stats.time_to_completion;
  return {
    ...stats,
    time_to_completion: { tasks, average_seconds: near(average_seconds), median_seconds: near(median_seconds) },
  };
}

async function statsOfAll(query: Record<string, string>): Promise<Stats> {
  const { status, body } = await call<Stats>(
    "GET",
    `${service.url}/api/stats?${new URLSearchParams(query).toString()}`,
    {
      headers: withScope("stats:all"),
    },
  );
  expect(status).toBe(200);
  return body;
}

function withScope(scope: unknown): { authorization: string } {
  const claims = { sub: "an operator", scope, exp: Math.floor(Date.now() / 1_000) + 600 };
  return { authorization: `Bearer ${token(claims)}` };
}

let lastTask = 1_000;

/** A task whose changes are told one by one; times are of one day unless a day is given, too. */
function task(user: string) {
  lastTask += 1;
  const of = { task_id: lastTask, user_id: user };
  const at = (time: string) => new Date(time.includes("T") ? time : `2026-03-10T${time}Z`).toISOString();
  const about = (taskversion: number, time: string) => ({ taskversion, time: at(time) });
  return {
    created: (time: string, due_date: string | null = null): CloudEvent<"task_created"> =>
      eventOf("task_created", { ...of, title: "a", priority_id: null, due_date, created_at: at(time) }, about(1, time)),
    updated: (version: number, time: string, changes: { completed?: boolean; due_date?: string | null } = {}) =>
      eventOf(
        "task_updated",
        { ...of, title: "b", completed: false, priority_id: null, updated_at: at(time), ...changes },
        about(version, time),
      ),
    completed: (version: number, time: string, completed = true) =>
      eventOf("task_completed", { ...of, completed, completed_at: at(time) }, about(version, time)),
    deleted: (version: number, time: string) =>
      eventOf("task_deleted", { ...of, deleted_at: at(time) }, about(version, time)),
  };
}

const aDay = { from: "2026-03-10", to: "2026-03-10" };
const nothing = { created: 0, completed: 0, reopened: 0, deleted: 0, open: 0, overdue: 0 };

describe("figures", () => {
  test("a user of whom there is nothing has the last 30 days without anything", async () => {
    const today = new Date().toISOString().slice(0, 10);
    const stats = await statsOf(randomUUID());
    expect(stats).toMatchObject({
      ...nothing,
      time_zone: "UTC",
      time_to_completion: { tasks: 0, average_seconds: null, median_seconds: null },
    });
    // Unless this was begun right before midnight.
    expect([today, new Date().toISOString().slice(0, 10)]).toContain(stats.to);
    expect(stats.days).toHaveLength(30);
    expect(stats.days.at(0)?.date).toBe(stats.from);
    expect(stats.days.at(-1)).toEqual({ date: stats.to, ...nothing });
  });

  test("tell of a task's whole life", async () => {
    const user = randomUUID();
    const { created, updated, completed, deleted } = task(user);
    await deliver(created("08:00:00", "2026-03-11T12:00:00Z"));
    await deliver(completed(2, "09:00:00"));
    await deliver(updated(3, "10:00:00", { completed: false }));
    expect(await statsOf(user, aDay)).toMatchObject({ open: 1, overdue: 1, time_to_completion: { tasks: 0 } });
    await deliver(completed(4, "12:30:00"));
    await deliver(deleted(5, "2026-03-12T00:00:00Z"));
    const life = { created: 1, completed: 2, reopened: 1, deleted: 0 };
    expect(await statsOf(user, { from: "2026-03-09", to: "2026-03-12" })).toEqual({
      ...{ from: "2026-03-09", to: "2026-03-12", time_zone: "UTC", open: 0, overdue: 0, ...life, deleted: 1 },
      time_to_completion: { tasks: 1, average_seconds: 16_200, median_seconds: 16_200 },
      days: [
        { date: "2026-03-09", ...nothing },
        { date: "2026-03-10", ...nothing, ...life },
        { date: "2026-03-11", ...nothing },
        { date: "2026-03-12", ...nothing, deleted: 1 },
      ],
    });
  });

  test("a deletion counts before its task's creation comes, and the creation afterwards", async () => {
    const user = randomUUID();
    const { created, deleted } = task(user);
    await deliver(deleted(2, "09:00:00"));
    expect(await statsOf(user, aDay)).toMatchObject({ open: 0, created: 0, deleted: 1 });
    await deliver(created("08:00:00"));
    expect(await statsOf(user, aDay)).toMatchObject({ open: 0, created: 1, deleted: 1, days: [{ open: 0 }] });
  });

  test("a completion whose task's creation hasn't come has no time to it yet", async () => {
    const user = randomUUID();
    const { created, completed } = task(user);
    await deliver(completed(2, "09:00:00"));
    expect(await statsOf(user, aDay)).toMatchObject({ completed: 1, open: 0, time_to_completion: { tasks: 0 } });
    await deliver(created("08:00:00"));
    expect(await statsOf(user, aDay)).toMatchObject({
      ...{ completed: 1, open: 0 },
      time_to_completion: { tasks: 1, median_seconds: 3_600 },
    });
  });

  test("what is delivered again changes nothing, and the log says so", async () => {
    const user = randomUUID();
    const { created, completed } = task(user);
    const events = [created("08:00:00"), completed(2, "09:00:00")];
    for (const event of events) await deliver(event);
    const before = await statsOf(user, aDay);
    for (const event of [...events, ...events]) await deliver(event);
    expect(await statsOf(user, aDay)).toEqual(before);
    const outcomes = service.log.filter(({ userId, outcome }) => userId === user && outcome !== undefined);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual([
      ...["counted", "counted"],
      ...["repeated", "repeated", "repeated", "repeated"],
    ]);
    expect(outcomes[0]?.msg).toMatch(/^COUNTED: task_created, change 1 of task \d+$/);
  });

  test("a due date holds until an event says another, also where events don't say any, as older ones", async () => {
    const user = randomUUID();
    const { created, updated, completed } = task(user);
    await deliver(created("08:00:00", "2026-03-01T00:00:00Z"));
    await deliver(updated(2, "09:00:00"));
    expect(await statsOf(user, aDay)).toMatchObject({ open: 1, overdue: 1 });
    await deliver(updated(4, "11:00:00", { due_date: null }));
    expect(await statsOf(user, aDay)).toMatchObject({ open: 1, overdue: 0 });
    await deliver(completed(3, "10:00:00"));
    expect(await statsOf(user, aDay)).toMatchObject({ open: 1, overdue: 0, completed: 1, reopened: 1 });
    await deliver(updated(5, "2026-03-11T08:00:00Z", { due_date: "9999-12-31T23:59:59.999Z" }));
    expect(await statsOf(user, aDay)).toMatchObject({ open: 1, overdue: 0 });
  });

  test("a task becomes overdue when it's due, without an event", async () => {
    const user = randomUUID();
    const { created } = task(user);
    const due = Date.now() + 2_000;
    await deliver(created(new Date().toISOString(), new Date(due).toISOString()));
    expect(await statsOf(user)).toMatchObject({ open: 1, overdue: 0 });
    await waitFor("the task to be overdue", 30, async () => ((await statsOf(user)).overdue === 1 ? true : undefined));
    expect(Date.now()).toBeGreaterThanOrEqual(due);
  });

  test("days are those of the time zone that is asked for", async () => {
    const user = randomUUID();
    // The last half hour before, and the first one after, a day of 23 hours: summer time begins.
    await deliver(task(user).created("2026-03-28T22:30:00Z"));
    await deliver(task(user).created("2026-03-28T23:30:00Z"));
    await deliver(task(user).created("2026-03-29T21:30:00Z"));
    await deliver(task(user).created("2026-03-29T22:30:00Z"));
    const createdIn = async (time_zone: string) =>
      (await statsOf(user, { from: "2026-03-28", to: "2026-03-30", time_zone })).days.map(({ created }) => created);
    expect(await createdIn("Europe/Berlin")).toEqual([1, 2, 1]);
    expect(await createdIn("UTC")).toEqual([2, 2, 0]);
    expect(await createdIn("America/New_York")).toEqual([2, 2, 0]);
    expect(await createdIn("Asia/Kolkata")).toEqual([0, 2, 2]);
  });

  test("of days to come there are none", async () => {
    const user = randomUUID();
    expect((await statsOf(user, { from: "2999-01-01", to: "2999-01-31" })).days).toEqual([]);
    const [today = "", later = ""] = [0, 10].map((days) =>
      new Date(Date.now() + days * 24 * 3_600_000).toISOString().slice(0, 10),
    );
    const { to, days } = await statsOf(user, { from: today, to: later });
    // Two, if this was begun right before midnight.
    expect([to, days.length <= 2, days[0]]).toEqual([later, true, { date: today, ...nothing }]);
  });

  test.each([1, 2, 3, 4])("are right in any order, by chance %i", { timeout: 120_000 }, async (seed) => {
    const chance = random(seed);
    const range = { from: "2026-02-03", to: "2026-02-14" };
    // Some before, and none so late that a change would be yet to come.
    const tasks = lives(chance, 60, { from: Date.parse("2026-02-01"), to: Date.parse("2026-02-14") }).map((events) =>
      // Tasks of other turns have other numbers.
      events.map(
        (event) => ({ ...event, data: { ...event.data, task_id: event.data.task_id + seed * 100 } }) as TaskEvent,
      ),
    );
    const events = tasks.flat();
    const others = await statsOfAll(range);
    for (const event of chance.shuffle([...events, ...events.slice(0, events.length / 2)])) await deliver(event);

    for (const [user, own] of Map.groupBy(tasks, (each) => each[0]?.data.user_id ?? "")) {
      expect(await statsOf(user, range)).toEqual(nearly(figures(own, range.from, range.to)));
    }
    const all = await statsOfAll(range);
    const expected = figures(tasks, range.from, range.to);
    for (const figure of ["created", "completed", "reopened", "deleted", "open", "overdue"] as const) {
      expect([figure, all[figure] - others[figure]]).toEqual([figure, expected[figure]]);
      expect(all.days.map((day, nth) => day[figure] - (others.days[nth]?.[figure] ?? 0))).toEqual(
        expected.days.map((day) => day[figure]),
      );
    }
    expect(all.time_to_completion.tasks - others.time_to_completion.tasks).toBe(expected.time_to_completion.tasks);
  });
});

describe("a request", () => {
  const user = randomUUID();
  const get = (path: string, headers?: Record<string, string>) =>
    call<{ message: string }>("GET", `${service.url}${path}`, headers === undefined ? { user } : { headers });

  test.each([
    ["from=2026-02-30", "querystring/from: must be a date like 2030-12-31"],
    ["to=yesterday", "querystring/to: must be a date like 2030-12-31"],
    ["from=0000-02-29&to=0000-03-01", "must not be before 1970-01-01"],
    ["from=2026-03-02&to=2026-03-01", "querystring/from: must not be after the last day, 2026-03-01"],
    ["from=2025-03-01&to=2026-03-02", "querystring/from: must be at most 366 days before 2026-03-02"],
    ["time_zone=Mars/Olympus", "querystring/time_zone: must be a time zone's IANA name, like Europe/Berlin"],
    ["time_zone=%2B02:00", "querystring/time_zone: must be a time zone's IANA name, like Europe/Berlin"],
    ["time_zone=';drop table changes", "querystring/time_zone: must be a time zone's IANA name, like Europe/Berlin"],
    ["days=3", "Unrecognized key"],
  ])("with %s is refused with the reason", async (query, reason) => {
    for (const path of [`/api/${user}/stats`, "/api/stats"]) {
      const { status, body } = await get(
        `${path}?${query}`,
        path === "/api/stats" ? withScope("stats:all") : undefined,
      );
      expect(status).toBe(400);
      expect(body.message).toContain(reason);
    }
  });

  test("is answered for the user itself only", async () => {
    expect((await get(`/api/${user}/stats`)).status).toBe(200);
    expect((await get(`/api/${user}/stats`, {})).status).toBe(401);
    expect((await get(`/api/${randomUUID()}/stats`)).status).toBe(403);
    // What sees all users is another route's.
    expect((await get(`/api/${user}/stats`, withScope("stats:all"))).status).toBe(403);
    expect((await get("/api/me/stats")).status).toBe(403);
  });

  test("is answered for all users only with a token that was made for it", async () => {
    expect((await get("/api/stats", withScope("tasks stats:all"))).status).toBe(200);
    expect((await get("/api/stats", {})).status).toBe(401);
    const forged = token(
      { sub: "a", scope: "stats:all", exp: Math.floor(Date.now() / 1_000) + 3_600 },
      "another key of thirty-two bytes.",
    );
    expect((await get("/api/stats", { authorization: `Bearer ${forged}` })).status).toBe(401);
    expect((await get("/api/stats")).body).toMatchObject({
      statusCode: 403,
      message: "The bearer token hasn't the scope stats:all",
    });
    for (const scope of ["stats", "stats:all:not", ["stats:all"], null]) {
      expect((await get("/api/stats", withScope(scope))).status).toBe(403);
    }
  });

  test("is documented", async () => {
    const { body } = await call<{ paths: Record<string, unknown> }>("GET", `${service.url}/docs/json`);
    expect(Object.keys(body.paths)).toEqual(expect.arrayContaining(["/api/{user_id}/stats", "/api/stats"]));
  });
});

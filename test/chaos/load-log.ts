/**
 * The load's own log, one JSON line each for what it's about to ask, for the answer, and for what it learns later. It shares
 * nothing with the system under test.
 */
import { readFileSync } from "node:fs";
import type { EventType } from "@event-flow/events";

export type Method = "POST" | "PUT" | "PATCH" | "DELETE";

/** The event of a change. */
export const typeOf: Readonly<Record<Method, EventType>> = {
  POST: "task_created",
  PUT: "task_updated",
  PATCH: "task_completed",
  DELETE: "task_deleted",
};

/** A change that is about to be asked for. The client counts versions itself, and doesn't know a new task's id. */
interface Intent {
  readonly what: "intent";
  readonly request: number;
  readonly at: number;
  readonly user: string;
  readonly method: Method;
  readonly version: number;
  readonly task?: number;
}

/** An answer; without a status there was none. Everything but 2xx leaves it open whether the change was made. */
interface Answer {
  readonly what: "answer";
  readonly request: number;
  readonly at: number;
  readonly status?: number;
  readonly task?: number;
  readonly problem?: string;
}

/** A later look shows that the change was made. */
interface Seen {
  readonly what: "seen";
  readonly request: number;
  readonly at: number;
}

export type LoadLine = Intent | Answer | Seen;

/** A change that was asked for, and what became of it. */
export interface Request {
  readonly request: number;
  readonly method: Method;
  readonly user: string;
  readonly version: number;
  /** Unknown of a creation that wasn't acknowledged. */
  readonly task: number | undefined;
  /** When it was acknowledged, or seen to be made; without it nobody knows whether it was made. */
  readonly acknowledgedAt: number | undefined;
  readonly status: number | undefined;
}

/** What the load learned of its requests. */
export function requestsOf(lines: readonly LoadLine[]): Request[] {
  const requests = new Map<number, Request>();
  for (const line of lines) {
    const known = requests.get(line.request);
    if (line.what === "intent") {
      const { request, method, user, version, task } = line;
      requests.set(request, { request, method, user, version, task, acknowledgedAt: undefined, status: undefined });
    } else if (known === undefined) {
      throw new Error(`The load's log has no intent of request ${line.request}`);
    } else if (line.what === "seen") {
      requests.set(line.request, { ...known, acknowledgedAt: line.at });
    } else {
      const made = line.status !== undefined && line.status < 300;
      const { status, task = known.task } = line;
      requests.set(line.request, { ...known, task, status, ...(made && { acknowledgedAt: line.at }) });
    }
  }
  return [...requests.values()];
}

export function readLoadLog(file: string): LoadLine[] {
  const lines = readFileSync(file, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => JSON.parse(line) as LoadLine);
}

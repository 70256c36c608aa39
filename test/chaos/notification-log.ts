/** What the notification service's replicas logged of each event that they were given. */
import { closeSync, existsSync, fstatSync, openSync, readSync } from "node:fs";
import type { EventType } from "@event-flow/events";
import type { Outcome } from "../../apps/notification-service/src/notifications.ts";

export interface Handling {
  readonly outcome: Outcome;
  readonly eventId: string;
  readonly type: EventType;
  readonly task: number;
  readonly version: number;
  /** When it was logged, in milliseconds since 1970, by the real clock. */
  readonly at: number;
  /** Which replica's log it's in. */
  readonly source: string;
}

/** A line about an event that was given up on. */
export interface GivenUp {
  readonly source: string;
  readonly text: string;
}

interface Line {
  readonly time?: number;
  readonly msg?: string;
  readonly outcome?: Outcome;
  readonly eventId?: string;
  readonly type?: EventType;
  readonly taskId?: number;
  readonly taskVersion?: number;
}

/** By how much the clock is set in tests. Shorter than that no log is silent. */
export const clockStepMs = 3_600_000;

/** Reads one replica's log line by line, as it grows. */
export class NotificationLog {
  readonly handlings: Handling[] = [];
  readonly givenUp: GivenUp[] = [];
  readonly #source: string;
  #lastAt: number | undefined;
  #correction = 0;

  constructor(source: string) {
    this.#source = source;
  }

  add(text: string): void {
    const line = parse(text);
    if (line?.time === undefined) return;
    const at = this.#realTime(line.time);
    const { outcome, eventId, type, taskId, taskVersion, msg = "" } = line;
    if (msg.startsWith("Dead letter")) this.givenUp.push({ source: this.#source, text });
    if (!outcome || !eventId || !type || !taskId || !taskVersion) return;
    this.handlings.push({ outcome, eventId, type, task: taskId, version: taskVersion, at, source: this.#source });
  }

  /** A log is in the order of its lines: where time jumps in it by about an hour, the clock was set. */
  #realTime(logged: number): number {
    const shown = logged + this.#correction;
    const jump = Math.round((shown - (this.#lastAt ?? shown)) / clockStepMs) * clockStepMs;
    this.#correction -= jump;
    this.#lastAt = shown - jump;
    return this.#lastAt;
  }
}

/** A line that is no JSON is another program's, or was torn by a kill: then its event is delivered again. */
function parse(text: string): Line | undefined {
  try {
    return JSON.parse(text) as Line;
  } catch {
    return undefined;
  }
}

/** Follows the logs of all replicas. */
export class NotificationLogs {
  readonly #followed: { readonly file: string; readonly log: NotificationLog; offset: number }[];
  readonly #handled = new Set<string>();

  constructor(files: readonly string[]) {
    this.#followed = files.map((file) => ({ file, log: new NotificationLog(file), offset: 0 }));
  }

  /** Reads what came since the last time. */
  read(): void {
    for (const followed of this.#followed) {
      const known = followed.log.handlings.length;
      const lines = wholeLines(followed.file, followed.offset);
      followed.offset += lines.length;
      for (const line of lines.toString("utf8").split("\n")) followed.log.add(line);
      for (const { outcome, task, version } of followed.log.handlings.slice(known)) {
        if (outcome !== "outdated") this.#handled.add(`${task}/${version}`);
      }
    }
  }

  /** Whether a change's event was told, or repeated what had been told. */
  isHandled({ task, version }: { readonly task: number; readonly version: number }): boolean {
    return this.#handled.has(`${task}/${version}`);
  }

  get handlings(): readonly Handling[] {
    return this.#followed.flatMap(({ log }) => log.handlings);
  }

  get givenUp(): readonly GivenUp[] {
    return this.#followed.flatMap(({ log }) => log.givenUp);
  }
}

/** What a file has from an offset on, as far as its lines are whole. */
function wholeLines(file: string, offset: number): Buffer {
  if (!existsSync(file)) return Buffer.alloc(0);
  const descriptor = openSync(file, "r");
  try {
    const buffer = Buffer.alloc(Math.max(0, fstatSync(descriptor).size - offset));
    const length = readSync(descriptor, buffer, 0, buffer.length, offset);
    return buffer.subarray(0, buffer.subarray(0, length).lastIndexOf("\n") + 1);
  } finally {
    closeSync(descriptor);
  }
}

import { createWriteStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { execa } from "execa";
import { vegeta } from "../test/tools/go-tools.ts";
import { toolDir } from "../test/tools/index.ts";

/** One POST of JSON. */
export interface Post {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
  /** What the answer and the handled event are found by. */
  readonly key: string;
}

/** What became of a request. */
export interface Answer {
  readonly key: string;
  /** When it was sent, in milliseconds since 1970. */
  readonly sentAt: number;
  readonly latencyMs: number;
  /** 0 without an answer. */
  readonly status: number;
  readonly body: string;
}

/** How requests are sent: each connection the next one when it has its answer, or at a rate whatever the answers do. */
export type Pace = { readonly connections: number } | { readonly rate: number };

/** As many requests as may be under way in an open loop: fewer would make a slow answer hold the next requests back. */
const openLoopWorkers = 4_000;

function paceFlags(pace: Pace): string[] {
  return "rate" in pace
    ? [`-rate=${pace.rate}/1s`, "-workers=16", `-max-workers=${openLoopWorkers}`]
    : [
        "-rate=0",
        `-workers=${pace.connections}`,
        `-max-workers=${pace.connections}`,
        `-connections=${pace.connections}`,
        `-max-connections=${pace.connections}`,
      ];
}

/** The parameter that carries a request's key: whom it's sent to takes no notice of it. */
const keyParameter = "bench";

function target({ url, headers, body, key }: Post): string {
  const address = new URL(url);
  address.searchParams.set(keyParameter, key);
  return JSON.stringify({
    method: "POST",
    url: address.href,
    header: Object.fromEntries(
      Object.entries({ "content-type": "application/json", ...headers }).map(([name, value]) => [name, [value]]),
    ),
    body: Buffer.from(JSON.stringify(body)).toString("base64"),
  });
}

/** A line of vegeta's results. */
interface Result {
  readonly code: number;
  readonly timestamp: string;
  /** In nanoseconds. */
  readonly latency: number;
  readonly body: string | null;
  readonly url: string;
}

/** Milliseconds since 1970 of an RFC 3339 timestamp, with all its digits. */
function milliseconds(timestamp: string): number {
  const fraction = /\.\d+/.exec(timestamp)?.[0] ?? "";
  return Date.parse(timestamp.replace(fraction, "")) + Number(`0${fraction}`) * 1_000;
}

export function readResult(line: string): Answer {
  const { code, timestamp, latency, body, url } = JSON.parse(line) as Result;
  return {
    key: new URL(url).searchParams.get(keyParameter) ?? "",
    sentAt: milliseconds(timestamp),
    latencyMs: latency / 1e6,
    status: code,
    body: Buffer.from(body ?? "", "base64").toString(),
  };
}

/** Sends requests for some seconds; a faster receiver gets them over again. */
export async function send(
  posts: readonly Post[],
  pace: Pace,
  { seconds, timeoutSeconds = 30 }: { readonly seconds: number; readonly timeoutSeconds?: number },
): Promise<Answer[]> {
  const program = join(toolDir(vegeta), "vegeta");
  const dir = mkdtempSync(join(tmpdir(), "event-flow-load-"));
  try {
    const targets = join(dir, "targets");
    const results = join(dir, "results");
    await pipeline(Readable.from(lines(posts)), createWriteStream(targets));
    await execa(program, [
      "attack",
      "-format=json",
      `-targets=${targets}`,
      `-output=${results}`,
      `-duration=${seconds}s`,
      `-timeout=${timeoutSeconds}s`,
      ...paceFlags(pace),
    ]);
    const answers: Answer[] = [];
    for await (const line of execa(program, ["encode", "--to=json", results], { buffer: false })) {
      answers.push(readResult(line));
    }
    return answers;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function* lines(posts: readonly Post[]): Generator<string> {
  for (const post of posts) yield `${target(post)}\n`;
}

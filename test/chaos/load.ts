import { randomUUID } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { token } from "../servers/token.ts";
import type { LoadLine, Method } from "./load-log.ts";
import { random, type Random } from "./random.ts";

/** A steady load of changes by users who each wait for their answers. */
export interface Load {
  /** What was acknowledged so far. */
  readonly acknowledgements: readonly Acknowledgement[];
  /** Ends it, and resolves when the last answer is there. */
  stop(): Promise<void>;
}

/** A change that the backend said it made, or that was seen later to be made. */
export interface Acknowledgement {
  readonly task: number;
  readonly version: number;
  readonly at: number;
}

export interface LoadOptions {
  /** The file of its log. */
  readonly log: string;
  /** The backends' URLs; who isn't answered by one turns to the next. */
  readonly backends: readonly string[];
  readonly seed: number;
  /** How many changes in a second, over all users. */
  readonly rate: number;
  readonly users: number;
  /** The key that signs tokens. @default the one of the processes that tests start */
  readonly jwtSecret?: string;
}

/** Longer than the backend itself waits for its database. */
const answerTimeoutMs = 12_000;
const lookTimeoutMs = 20_000;
const weekSeconds = 7 * 24 * 3_600;

interface Task {
  readonly id: number;
  version: number;
  title: string;
  completed: boolean;
}

interface Answered {
  readonly status: number;
  readonly body: { readonly id?: number; readonly title?: string; readonly completed?: boolean } | undefined;
}

export function startLoad(options: LoadOptions): Load {
  const { rate, users } = options;
  const log = openSync(options.log, "a");
  const write = (line: LoadLine) => void writeSync(log, `${JSON.stringify(line)}\n`);
  const acknowledgements: Acknowledgement[] = [];
  let requests = 0;
  let stopped = false;
  const intervalMs = (users / rate) * 1_000;

  const user = async (nth: number) => {
    const chance = random(options.seed + nth);
    const id = randomUUID();
    const client = new Client({ ...options, userId: id, first: nth });
    /** Asks for one change; resolves to the task's id if it's known to be made. */
    const change = async (method: Method, task: Task | undefined, body?: object) => {
      requests += 1;
      const request = requests;
      const version = (task?.version ?? 0) + 1;
      write({ what: "intent", request, at: Date.now(), user: id, method, version, ...(task && { task: task.id }) });
      const path = task === undefined ? "" : `/${task.id}${method === "PATCH" ? "/complete" : ""}`;
      const answer = await client.ask(method, path, body);
      const at = Date.now();
      if (typeof answer === "string") {
        write({ what: "answer", request, at, problem: answer });
        return { request, made: undefined };
      }
      const made = answer.status < 300 ? (task?.id ?? answer.body?.id) : undefined;
      write({ what: "answer", request, at, status: answer.status, ...(made !== undefined && { task: made }) });
      if (made !== undefined) acknowledgements.push({ task: made, version, at });
      return { request, made };
    };
    /** Makes a change of a task; false if nobody knows whether it was made. */
    const next = async (task: Task, method: "PUT" | "PATCH" | "DELETE"): Promise<boolean> => {
      const after = { ...task, version: task.version + 1 };
      if (method === "PUT") after.title = `${task.id} in version ${after.version}`;
      if (method === "PATCH") after.completed = !task.completed;
      const body = { PUT: { title: after.title }, PATCH: { completed: after.completed }, DELETE: undefined }[method];
      const { request, made } = await change(method, task, body);
      if (made === undefined && !(await seen(request, after, method))) return false;
      Object.assign(task, after);
      return true;
    };
    /** Looks whether a change was made that wasn't acknowledged. That it isn't to be seen says nothing: it may still come. */
    const seen = async (request: number, after: Task, method: Method): Promise<boolean> => {
      const { status, body } = await client.look(`/${after.id}`);
      const made =
        method === "DELETE"
          ? status === 404
          : status === 200 && body?.title === after.title && body.completed === after.completed;
      if (!made) return false;
      const at = Date.now();
      write({ what: "seen", request, at });
      acknowledgements.push({ task: after.id, version: after.version, at });
      return true;
    };
    const pace = pacer(intervalMs, chance.int(0, Math.round(intervalMs)));
    while (!stopped) {
      await pace();
      const title = "A new task";
      const { made } = await change("POST", undefined, { title });
      if (made === undefined) continue;
      const task: Task = { id: made, version: 1, title, completed: false };
      for (const method of lifeOf(chance)) {
        await pace();
        if (!(await next(task, method))) break;
      }
    }
  };
  const running = Promise.all(Array.from({ length: users }, (_, nth) => user(nth)));
  return {
    acknowledgements,
    stop: async () => {
      stopped = true;
      await running;
      closeSync(log);
    },
  };
}

/** What happens to a task after it was created: some changes, and to every second one its end. */
function lifeOf(chance: Random): ("PUT" | "PATCH" | "DELETE")[] {
  const changes = Array.from({ length: chance.int(1, 6) }, () => chance.pick(["PUT", "PUT", "PATCH"] as const));
  return chance.int(0, 1) === 0 ? changes : [...changes, "DELETE"];
}

/** Each call resolves one interval after the one before, or at once if that has passed: what was missed isn't made up for. */
function pacer(intervalMs: number, firstMs: number): () => Promise<void> {
  let next = performance.now() + firstMs;
  return async () => {
    await sleep(Math.max(0, next - performance.now()));
    next = Math.max(next, performance.now()) + intervalMs;
  };
}

/** One user's calls, by way of any backend that answers. */
class Client {
  readonly #options: LoadOptions & { readonly userId: string; readonly first: number };
  readonly #authorization: string;
  #turn: number;

  constructor(options: LoadOptions & { readonly userId: string; readonly first: number }) {
    this.#options = options;
    this.#turn = options.first;
    const { userId, jwtSecret } = options;
    // It's valid also by a clock that was set forward.
    const claims = { sub: userId, exp: Math.floor(Date.now() / 1_000) + weekSeconds };
    this.#authorization = `Bearer ${token(claims, jwtSecret)}`;
  }

  /** Asks once; a backend that doesn't take the connection is passed over. Resolves to why, if there was no answer. */
  async ask(method: string, path: string, body?: object): Promise<Answered | string> {
    let problem = "";
    for (let left = this.#options.backends.length; left > 0; left -= 1) {
      try {
        return await this.#call(method, path, body);
      } catch (error) {
        const { message, cause } = error as Error;
        problem = cause instanceof Error ? cause.message : message;
        this.#turn += 1;
        // Only then it's certain that nothing was asked.
        if ((cause as NodeJS.ErrnoException | undefined)?.code !== "ECONNREFUSED") return problem;
      }
    }
    await sleep(100);
    return problem;
  }

  /** Reads until somebody answers; status 0 if that takes too long. */
  async look(path: string): Promise<Answered> {
    const deadline = performance.now() + lookTimeoutMs;
    while (performance.now() < deadline) {
      const answer = await this.ask("GET", path);
      if (typeof answer !== "string" && answer.status < 500) return answer;
      this.#turn += 1;
      await sleep(200);
    }
    return { status: 0, body: undefined };
  }

  async #call(method: string, path: string, body?: object): Promise<Answered> {
    const { backends, userId } = this.#options;
    const response = await fetch(`${backends[this.#turn % backends.length] ?? ""}/api/${userId}/tasks${path}`, {
      method,
      headers: {
        authorization: this.#authorization,
        ...(body !== undefined && { "content-type": "application/json" }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(answerTimeoutMs),
    });
    const text = await response.text();
    return { status: response.status, body: text === "" ? undefined : (JSON.parse(text) as Answered["body"]) };
  }
}

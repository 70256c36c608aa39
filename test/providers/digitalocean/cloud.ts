import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Something in an account at DigitalOcean. */
export interface CloudObject {
  readonly id: string;
  /** What it is, by the name of its resource type: `KubernetesCluster`. */
  readonly kind: string;
  /** How it was asked for. */
  readonly inputs: Readonly<Record<string, unknown>>;
  /** What was made, in plain text: this is the cloud, not the stack's state. */
  readonly made: Readonly<Record<string, unknown>>;
  /** When it is ready, in milliseconds since 1970. */
  readonly readyAt: number;
}

/** A call that fails on demand. */
export interface Fault {
  /** Tells faults apart: each fails as often as it says and then no more. */
  readonly id: string;
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** A regular expression on the path below the API's address. */
  readonly path: string;
  readonly status: number;
  readonly message: string;
  /** @default 1 */
  readonly times?: number;
}

/** What tests tell the cloud; the cloud only reads it. */
export interface Steering {
  /** The account's API token. */
  readonly token: string;
  /** The versions of Kubernetes on offer, the latest first. */
  readonly kubernetesVersions: readonly string[];
  /** How long a cluster or a database takes. */
  readonly secondsToReady: number;
  readonly faults: readonly Fault[];
}

interface Contents {
  readonly objects: Record<string, CloudObject>;
  /** How often each fault has failed a call. */
  readonly failed: Record<string, number>;
  /** Every call that changed something or was refused, in order. */
  readonly calls: string[];
}

/** An error of the API, worded as DigitalOcean's client words it. */
export class ApiError extends Error {
  readonly status: number;

  constructor(method: string, path: string, status: number, message: string) {
    super(`${method} https://api.digitalocean.com${path}: ${status} (request "${randomUUID()}") ${message}`);
    this.status = status;
  }
}

/** How often the real provider repeats a call that was one too many, by default. */
const retries = 4;

/** An account at DigitalOcean, kept in a folder so that tests can look into it and steer it. */
export class Cloud {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
    mkdirSync(directory, { recursive: true });
  }

  get steering(): Steering {
    return JSON.parse(readFileSync(this.#steeringFile, "utf8")) as Steering;
  }

  /** For tests: changes what they tell the cloud. */
  steer(changes: Partial<Steering>): void {
    const before = existsSync(this.#steeringFile) ? this.steering : {};
    writeWhole(this.#steeringFile, { ...before, ...changes });
  }

  objects(kind?: string): CloudObject[] {
    return Object.values(this.#read().objects).filter((object) => kind === undefined || object.kind === kind);
  }

  get(id: string): CloudObject | undefined {
    return this.#read().objects[id];
  }

  put(object: CloudObject): void {
    this.#change(({ objects }) => (objects[object.id] = object));
  }

  remove(id: string): void {
    // eslint-disable-next-line @typescript-eslint/no-dynamic-delete
    this.#change(({ objects }) => delete objects[id]);
  }

  get calls(): readonly string[] {
    return this.#read().calls;
  }

  /** Makes one call as the real client does: it may be refused, and is repeated when it was one too many. */
  async call(token: string, method: Fault["method"], path: string): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        this.#answer(token, method, path);
        return;
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 429 || attempt === retries) throw error;
        await sleep(500);
      }
    }
  }

  #answer(token: string, method: Fault["method"], path: string): void {
    const { token: valid, faults } = this.steering;
    const { failed } = this.#read();
    const fault =
      token === valid
        ? faults.find(
            (each) =>
              each.method === method && new RegExp(each.path).test(path) && (failed[each.id] ?? 0) < (each.times ?? 1),
          )
        : { id: "token", status: 401, message: "Unable to authenticate you" };
    if (method !== "GET" || fault !== undefined) {
      this.#change(({ calls }) => calls.push(`${method} ${path}${fault === undefined ? "" : ` ${fault.status}`}`));
    }
    if (fault === undefined) return;
    this.#change((contents) => (contents.failed[fault.id] = (contents.failed[fault.id] ?? 0) + 1));
    throw new ApiError(method, path, fault.status, fault.message);
  }

  get #file(): string {
    return join(this.directory, "cloud.json");
  }

  get #steeringFile(): string {
    return join(this.directory, "steering.json");
  }

  #read(): Contents {
    if (!existsSync(this.#file)) return { objects: {}, failed: {}, calls: [] };
    return JSON.parse(readFileSync(this.#file, "utf8")) as Contents;
  }

  /** Nothing waits in between, so changes of one process never mix; and only the provider's process makes any. */
  #change(change: (contents: Contents) => unknown): void {
    const contents = this.#read();
    change(contents);
    writeWhole(this.#file, contents);
  }
}

/** A reader in another process sees the file before or after, never half of it. */
function writeWhole(file: string, contents: unknown): void {
  writeFileSync(`${file}.new`, JSON.stringify(contents, undefined, 2), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

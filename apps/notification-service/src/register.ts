import { randomInt, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { DaprClient } from "@event-flow/service";
import { ConflictError } from "@event-flow/subscriber";
import { z } from "zod";

const listKey = "deliverers";
const entryKey = (name: string) => `deliverer/${name}`;

/** How long a replica may be silent before another takes its deliveries over. Measured by clocks that nobody sets. */
export const silenceMs = 15_000;

/** How often a replica shows that it is there. */
export const beatMs = 3_000;

/** How old the last sign may be for a user to count as noted: far from the silence after which others take over. */
const freshMs = 6_000;

const attempts = 20;

const listSchema = z.array(z.string());

/** A replica is here, or it left its users to whoever comes, or another one takes them over. */
const entrySchema = z.object({ state: z.enum(["here", "left", "sealed"]), users: z.array(z.string()) });

type Entry = z.infer<typeof entrySchema>;

/** Replicas whose deliveries are to be taken over, with the users that have some. */
export interface Left {
  readonly name: string;
  readonly users: readonly string[];
}

/** What another replica's entry was when it was last seen to change. */
interface Seen {
  readonly etag: string | undefined;
  readonly since: number;
}

/**
 * In the state store, which users may have pending deliveries, so that what a replica leaves when it dies is found: an entry
 * for each replica, written by itself only until it is sealed.
 *
 * A replica notes a user before it writes a pending delivery into the user's document, and signs its entry every few seconds.
 * Of one that hasn't for some time, another seals the entry, by its ETag: from then on the silent one, should it still be
 * there, can't sign it, and learns so. Then the other one changes the owner in each user's document.
 */
export class Register {
  readonly #dapr: DaprClient;
  #name: string = randomUUID();
  #joined = false;
  /** When the entry was last known to have these users, by a clock that nobody sets. */
  #confirmed = -Infinity;
  #noted = new Set<string>();
  readonly #held = new Map<string, number>();
  #writing: Promise<void> = Promise.resolve();
  /** The write after that, shared by all who wait for it. */
  #next: Promise<void> | undefined;
  readonly #others = new Map<string, Seen>();
  readonly #onLost: (left: Left) => void;

  /** `onLost` is told when another replica took this one for dead: its entry has another name from then on. */
  constructor(dapr: DaprClient, onLost: (left: Left) => void) {
    this.#dapr = dapr;
    this.#onLost = onLost;
  }

  /** Makes sure that the user is found if this replica dies, until `release`, and resolves to the replica's name. */
  async hold(userId: string): Promise<string> {
    this.retain(userId);
    try {
      while (!this.#noted.has(userId) || performance.now() - this.#confirmed > freshMs) await this.sign();
    } catch (error) {
      this.release(userId);
      throw error;
    }
    return this.#name;
  }

  /** Holds on to a user who is held already. */
  retain(userId: string): void {
    this.#held.set(userId, (this.#held.get(userId) ?? 0) + 1);
  }

  release(userId: string): void {
    const count = (this.#held.get(userId) ?? 0) - 1;
    if (count > 0) this.#held.set(userId, count);
    else this.#held.delete(userId);
  }

  /** Whether there is anything to sign. */
  get joined(): boolean {
    return this.#joined;
  }

  /** Writes the entry, with the users that are held by then. Those who wait share a write. */
  sign(): Promise<void> {
    this.#next ??= this.#writing
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined;
        this.#writing = this.#write();
        return this.#writing;
      });
    return this.#next;
  }

  async #write(): Promise<void> {
    const begun = performance.now();
    const users = [...this.#held.keys()];
    const same = users.length === this.#noted.size && users.every((userId) => this.#noted.has(userId));
    // Another one who waited has written all of it.
    if (same && begun - this.#confirmed < beatMs / 2) return;

    const key = entryKey(this.#name);
    const { value, etag } = await this.#dapr.getState(key);
    const found = entrySchema.safeParse(value).data;
    if (this.#joined && found?.state !== "here") {
      this.#rename();
      return this.#write();
    }
    const entry: Entry = { state: "here", users };
    if (!(await this.#dapr.saveState(key, { value: entry, etag }))) {
      // Who but one that seals it writes it?
      return this.#write();
    }
    if (!this.#joined) {
      await this.#changeList((names) => (names.includes(this.#name) ? names : [...names, this.#name]));
      this.#joined = true;
    }
    this.#noted = new Set(users);
    this.#confirmed = begun;
  }

  #rename(): void {
    const left = { name: this.#name, users: [...this.#held.keys()] };
    this.#name = randomUUID();
    this.#joined = false;
    this.#noted = new Set();
    this.#confirmed = -Infinity;
    this.#onLost(left);
  }

  /** Looks at the other replicas' entries, and seals those of which nothing was heard for long. */
  async findLeft(): Promise<Left[]> {
    const names = (await this.#list()).value.filter((name) => name !== this.#name);
    for (const name of this.#others.keys()) {
      if (!names.includes(name)) this.#others.delete(name);
    }
    const left: Left[] = [];
    for (const name of names) {
      const { value, etag } = await this.#dapr.getState(entryKey(name));
      const entry = entrySchema.safeParse(value).data;
      const seen = this.#others.get(name);
      // One that left says so.
      if (entry?.state !== "left") {
        const now = performance.now();
        if (seen === undefined || seen.etag !== etag) {
          this.#others.set(name, { etag, since: now });
          continue;
        }
        if (now - seen.since < silenceMs) continue;
      }
      const users = entry?.users ?? [];
      if (await this.#dapr.saveState(entryKey(name), { value: { state: "sealed", users } satisfies Entry, etag })) {
        left.push({ name, users });
      }
      this.#others.delete(name);
    }
    return left;
  }

  /** Forgets a replica whose users were all taken over. */
  async forget(name: string): Promise<void> {
    await this.#dapr.deleteState(entryKey(name));
    await this.#changeList((names) => names.filter((each) => each !== name));
  }

  /** Leaves what is held to the others, or to the one that starts next. */
  async leave(): Promise<void> {
    await (this.#next ?? this.#writing).catch(() => undefined);
    if (!this.#joined) return;
    const key = entryKey(this.#name);
    const { etag } = await this.#dapr.getState(key);
    const users = [...this.#held.keys()];
    if (users.length === 0) {
      await this.forget(this.#name);
    } else if (etag !== undefined) {
      await this.#dapr.saveState(key, { value: { state: "left", users } satisfies Entry, etag });
    }
  }

  async #list() {
    const { value, etag } = await this.#dapr.getState(listKey);
    return { value: listSchema.parse(value ?? []), etag };
  }

  async #changeList(change: (names: string[]) => string[]): Promise<void> {
    for (let attempt = 1; attempt <= attempts; attempt += 1) {
      const { value, etag } = await this.#list();
      if (await this.#dapr.saveState(listKey, { value: change(value), etag })) return;
      await sleep(randomInt(1, 5 * attempt + 1));
    }
    throw new ConflictError(`The list of deliverers was written by others ${attempts} times in a row`);
  }
}

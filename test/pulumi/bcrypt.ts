/**
 * bcrypt (`$2a$`), which Node.js doesn't have: the hash that the random provider gives out beside each password. Blowfish's
 * tables are the first 1042 words of pi's fraction, so they're worked out here rather than copied.
 */
import { randomBytes } from "node:crypto";

const ROUNDS = 16;
const SUBKEYS = ROUNDS + 2;
const BOXES = 4 * 256;
const SALT_BYTES = 16;
const MAX_PASSWORD_BYTES = 72;
const ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const MAGIC = "OrpheanBeholderScryDoubt";

/** Hashes the password's first 72 bytes with 2^cost rounds. */
export function bcryptHash(password: string, cost = 10, salt: Uint8Array = randomBytes(SALT_BYTES)): string {
  if (!Number.isInteger(cost) || cost < 4 || cost > 31) throw new Error(`bcrypt's cost is 4 to 31, not ${cost}`);
  if (salt.length !== SALT_BYTES) throw new Error(`bcrypt's salt has ${SALT_BYTES} bytes, not ${salt.length}`);

  // The terminating zero belongs to the key, unless the password fills it.
  const key = Buffer.concat([Buffer.from(password, "utf8"), Buffer.alloc(1)]).subarray(0, MAX_PASSWORD_BYTES);
  const cipher = new Blowfish();
  cipher.expand(key, salt);
  for (let round = 0; round < 2 ** cost; round++) {
    cipher.expand(key);
    cipher.expand(salt);
  }

  const text = Buffer.from(MAGIC, "latin1");
  const hash = Buffer.alloc(text.length);
  const block = new Uint32Array(2);
  for (let offset = 0; offset < text.length; offset += 8) {
    block[0] = text.readUInt32BE(offset);
    block[1] = text.readUInt32BE(offset + 4);
    for (let time = 0; time < 64; time++) cipher.encrypt(block);
    hash.writeUInt32BE(at(block, 0), offset);
    hash.writeUInt32BE(at(block, 1), offset + 4);
  }
  // The last byte is left out, as it always was.
  return `$2a$${String(cost).padStart(2, "0")}$${encode(salt)}${encode(hash.subarray(0, -1))}`;
}

class Blowfish {
  readonly #subkeys = piWords.slice(0, SUBKEYS);
  readonly #boxes = piWords.slice(SUBKEYS);

  /** Mixes a key into the tables, and a salt if there is one. */
  expand(key: Uint8Array, salt?: Uint8Array): void {
    const keyWords = cyclicWords(key);
    for (let i = 0; i < SUBKEYS; i++) this.#subkeys[i] = at(this.#subkeys, i) ^ keyWords();

    const saltWords = salt === undefined ? () => 0 : cyclicWords(salt);
    const block = new Uint32Array(2);
    for (const table of [this.#subkeys, this.#boxes]) {
      for (let i = 0; i < table.length; i += 2) {
        block[0] = at(block, 0) ^ saltWords();
        block[1] = at(block, 1) ^ saltWords();
        this.encrypt(block);
        table[i] = at(block, 0);
        table[i + 1] = at(block, 1);
      }
    }
  }

  encrypt(block: Uint32Array): void {
    let left = at(block, 0);
    let right = at(block, 1);
    for (let round = 0; round < ROUNDS; round++) {
      left = (left ^ at(this.#subkeys, round)) >>> 0;
      const mixed =
        (((at(this.#boxes, left >>> 24) + at(this.#boxes, 256 + ((left >>> 16) & 255))) ^
          at(this.#boxes, 512 + ((left >>> 8) & 255))) +
          at(this.#boxes, 768 + (left & 255))) >>>
        0;
      [left, right] = [(right ^ mixed) >>> 0, left];
    }
    block[0] = right ^ at(this.#subkeys, ROUNDS + 1);
    block[1] = left ^ at(this.#subkeys, ROUNDS);
  }
}

/** An element that is known to be there. */
function at(words: Uint32Array, index: number): number {
  return words[index] as number;
}

/** Reads big-endian words from the bytes, over and over. */
function cyclicWords(bytes: Uint8Array): () => number {
  let next = 0;
  return () => {
    let word = 0;
    for (let i = 0; i < 4; i++) {
      word = (word << 8) | (bytes[next] as number);
      next = (next + 1) % bytes.length;
    }
    return word >>> 0;
  };
}

/** bcrypt's own base 64: another alphabet and no padding. */
function encode(bytes: Uint8Array): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  return (bits.match(/.{1,6}/g) ?? []).map((six) => ALPHABET[Number.parseInt(six.padEnd(6, "0"), 2)]).join("");
}

/** Pi's fraction by Machin's formula, in fixed-point arithmetic with a few bits to spare. */
function wordsOfPi(count: number): Uint32Array {
  const spare = 64n;
  const one = 1n << (BigInt(count) * 32n + spare);
  const arctanOfInverse = (x: bigint): bigint => {
    let sum = 0n;
    let power = one / x;
    for (let n = 1n, sign = 1n; power !== 0n; n += 2n, sign = -sign) {
      sum += (sign * power) / n;
      power /= x * x;
    }
    return sum;
  };
  const pi = 4n * (4n * arctanOfInverse(5n) - arctanOfInverse(239n));
  const fraction = ((pi - 3n * one) >> spare).toString(16).padStart(count * 8, "0");
  return Uint32Array.from(fraction.match(/.{8}/g) ?? [], (word) => Number.parseInt(word, 16));
}

const piWords = wordsOfPi(SUBKEYS + BOXES);

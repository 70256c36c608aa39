import { randomFrom } from "./statistics.ts";

const count = 1_000;

/** Makes users, each time others; the seed decides which. */
export function userMaker(seed: number): () => readonly string[] {
  const random = randomFrom(seed);
  const hex = (digits: number) => Array.from({ length: digits }, () => Math.floor(random() * 16).toString(16)).join("");
  // A version 4 UUID (RFC 9562).
  const user = () => `${hex(8)}-${hex(4)}-4${hex(3)}-8${hex(3)}-${hex(12)}`;
  return () => Array.from({ length: count }, user);
}

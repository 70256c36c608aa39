import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { locate } from "./locate.ts";

/** Inside the root filesystem of the servers. */
const library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/** Sets the clock of those who take their time from a file: so many seconds from the real one. */
export function setClock(file: string, offsetSeconds: number): void {
  writeFileSync(file, `${offsetSeconds < 0 ? "" : "+"}${offsetSeconds}\n`);
}

/**
 * The environment of a program whose clock can be set while it runs, by `setClock` (https://github.com/wolfcw/libfaketime).
 * Only the time of day: timers run on the monotonic clock, which no administrator and no NTP sets. Programs that don't ask
 * libc for the time, as Go's, can't be deceived so.
 */
export function clockFrom(file: string): Readonly<Record<string, string>> {
  return {
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_CACHE_DURATION: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
    FAKETIME_DISABLE_SHM: "1",
  };
}

/** Preloads the library in a shell inside the root filesystem. */
export const preloadClock = `LD_PRELOAD=${library}`;

/** The beginning of a command line that gives a program of this machine the library, with the libc that it was made for. */
export function withClock(): readonly string[] {
  const { root } = locate();
  return [
    join(root, "lib64", "ld-linux-x86-64.so.2"),
    ...["--library-path", join(root, "usr", "lib", "x86_64-linux-gnu")],
    ...["--preload", join(root, library)],
  ];
}

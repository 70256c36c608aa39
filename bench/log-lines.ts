import { closeSync, openSync, readSync } from "node:fs";

/** Reads a log that is still written to: at each call the lines that came since. */
export function follow(file: string): () => string[] {
  let position = 0;
  let rest = Buffer.alloc(0);
  return () => {
    const log = openSync(file, "r");
    try {
      const chunk = Buffer.alloc(1 << 20);
      const lines: string[] = [];
      for (;;) {
        const read = readSync(log, chunk, 0, chunk.length, position);
        if (read === 0) return lines;
        position += read;
        const text = Buffer.concat([rest, chunk.subarray(0, read)]);
        const end = text.lastIndexOf("\n") + 1;
        rest = Buffer.from(text.subarray(end));
        if (end > 0) lines.push(...text.toString("utf8", 0, end - 1).split("\n"));
      }
    } finally {
      closeSync(log);
    }
  };
}

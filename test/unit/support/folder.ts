import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll } from "vitest";

/** A folder that is there until the file's tests are over. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "event-flow-unit-"));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  return folder;
}

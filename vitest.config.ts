import { defineConfig } from "vitest/config";

// Most tests wait: for servers to start, and for what was killed to be missed. Projects with one limit run side by side.
const maxWorkers = 3;

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts", "bench/test/*.test.ts"],
          maxWorkers,
          // Some run the whole program, which takes seconds where a machine has other work.
          testTimeout: 30_000,
          hookTimeout: 30_000,
        },
      },
      {
        test: {
          name: "apps",
          include: ["apps/*/test/*.test.ts", "test/servers/*.test.ts"],
          globalSetup: "test/servers/global-setup.ts",
          maxWorkers,
          testTimeout: 150_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: "pulumi",
          include: ["test/pulumi/**/*.test.ts", "test/providers/**/*.test.ts"],
          maxWorkers,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      { test: { name: "manifests", include: ["test/manifests/*.test.ts"], maxWorkers, testTimeout: 60_000 } },
      { test: { name: "cluster", include: ["test/cluster/*.test.ts"], maxWorkers } },
      // By itself: it takes all of a small machine.
      { test: { name: "chaos", include: ["test/chaos/*.test.ts"], fileParallelism: false } },
      // One story, told in order: what fails makes what follows meaningless.
      {
        test: {
          name: "e2e",
          include: ["test/flow/*.test.ts"],
          bail: 1,
          fileParallelism: false,
          testTimeout: 600_000,
          hookTimeout: 600_000,
        },
      },
      { test: { name: "rehearsal", include: ["test/rehearsal/*.test.ts"], bail: 1, fileParallelism: false } },
    ],
  },
});

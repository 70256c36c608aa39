import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["test/unit/**/*.test.ts", "apps/*/test/unit/**/*.test.ts"] } },
      {
        test: {
          name: "apps",
          include: ["apps/*/test/*.test.ts"],
          globalSetup: "test/servers/global-setup.ts",
          testTimeout: 30_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});

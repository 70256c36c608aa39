import { expect, it } from "vitest";
import { markSecret, withoutSecretMarks } from "./secrets.ts";

it("finds the values in secrets, however deep", () => {
  const secret = markSecret({ inner: markSecret("x") });
  expect(withoutSecretMarks({ plain: 1, none: null, secret, list: [markSecret(true), "y"] })).toEqual({
    plain: 1,
    none: null,
    secret: { inner: "x" },
    list: [true, "y"],
  });
});

it("marks a secret as the SDK does", async () => {
  const { isRpcSecret, unwrapRpcSecret } = await import("@pulumi/pulumi/runtime/rpc.js");
  expect(isRpcSecret(markSecret("x"))).toBe(true);
  expect(unwrapRpcSecret(markSecret("x"))).toBe("x");
});

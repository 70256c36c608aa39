import { describe, expect, it } from "vitest";
import { bcryptHash } from "./bcrypt.ts";

describe("bcryptHash", () => {
  // jBCrypt's test vectors; the salts are the first 22 characters of the hashes, as bytes.
  it.each([
    ["", 6, "144b3d691a7b4ecf39cf735c7fa7a79c", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."],
    ["a", 6, "a3612d8c9a37dac2f99d94da03bd4521", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"],
    [
      "abcdefghijklmnopqrstuvwxyz",
      10,
      "85727e838f9049397fbec90566ede0df",
      "$2a$10$fVH8e28OQRj9tqiDXs1e1uxpsjN0c7II7YPKXua2NAKYvM6iQk7dq",
    ],
  ])("hashes %j with cost %i", (password, cost, salt, hash) => {
    expect(bcryptHash(password, cost, Buffer.from(salt, "hex"))).toBe(hash);
  });

  it("takes 72 bytes of the password, no more", () => {
    const salt = new Uint8Array(16);
    const hash = bcryptHash("x".repeat(72), 4, salt);
    expect(bcryptHash("x".repeat(100), 4, salt)).toBe(hash);
    expect(bcryptHash("x".repeat(71), 4, salt)).not.toBe(hash);
  });

  it("salts each hash anew, with cost 10", () => {
    const [one, other] = [bcryptHash("same"), bcryptHash("same")];
    expect(one).toMatch(/^\$2a\$10\$[./A-Za-z0-9]{53}$/);
    expect(one).not.toBe(other);
  });

  it("refuses a cost or a salt that bcrypt doesn't have", () => {
    expect(() => bcryptHash("x", 3)).toThrow("bcrypt's cost is 4 to 31, not 3");
    expect(() => bcryptHash("x", 4, new Uint8Array(8))).toThrow("bcrypt's salt has 16 bytes, not 8");
  });
});

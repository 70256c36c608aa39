import { expect, test } from "vitest";
import { kafkaDelivery } from "../../components/delivery.ts";

test("of a message's headers the sidecar takes those that say where it is, and no others", () => {
  const excluded = kafkaDelivery.find(({ name }) => name === "excludeHeaderMetaRegex")?.value ?? "";
  // Go's name for the end of a text.
  const pattern = new RegExp(excluded.replaceAll(String.raw`\z`, "$"), "u");
  for (const place of ["__topic", "__partition", "__offset", "__key"]) {
    expect(pattern.test(place), place).toBe(false);
    for (const other of [
      place.slice(1),
      place.slice(0, -1),
      `${place}x`,
      `${place}\n`,
      ` ${place}`,
      place.toUpperCase(),
    ]) {
      expect(pattern.test(other), JSON.stringify(other)).toBe(true);
    }
  }
  for (const other of ["", "a b", "dapr-api-token", "content-type", "traceparent", "expect", "\r\n", "\ud83d\ude00"]) {
    expect(pattern.test(other), JSON.stringify(other)).toBe(true);
  }
});

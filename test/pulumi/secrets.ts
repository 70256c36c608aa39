/** How the engine and its plugins mark a secret value on the wire, among plain JSON. */
const SIGNATURE_KEY = "4dabf18193072939515e22adb298388d";
const SECRET = "1b47061264138c4ac30d75fd1eb44270";

/** Marks a value as secret. */
export function markSecret(value: unknown): { [SIGNATURE_KEY]: typeof SECRET; value: unknown } {
  return { [SIGNATURE_KEY]: SECRET, value };
}

/** The properties with every secret, however deep, replaced by its value. */
export function withoutSecretMarks(properties: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, withoutMark(value)]));
}

function withoutMark(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutMark);
  if (typeof value !== "object" || value === null) return value;
  const properties = value as Record<string, unknown>;
  return properties[SIGNATURE_KEY] === SECRET ? withoutMark(properties["value"]) : withoutSecretMarks(properties);
}

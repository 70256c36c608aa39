/**
 * Replaces secrets in whole log lines, whichever field or error message they got into.
 * Shorter values are left: what replaces "app" or "test" everywhere makes a log unreadable and hides nothing.
 */
export function redactor(secrets: readonly string[]): (line: string) => string {
  const written = secrets
    .filter((secret) => secret.length >= 8)
    // As a secret stands inside a JSON string.
    .map((secret) => JSON.stringify(secret).slice(1, -1));
  return (line) => written.reduce((text, secret) => text.replaceAll(secret, "[redacted]"), line);
}

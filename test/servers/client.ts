import { daprTokenHeader } from "@event-flow/events";
import { appApiToken } from "./service.ts";
import { bearer } from "./token.ts";

/** What a sidecar shows with each call to a service that `startService` started. */
export const asSidecar = { [daprTokenHeader]: appApiToken };

export interface Answer<T> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
}

/** Calls a service as one user. `T` is what the caller expects the body to be. */
export async function call<T = unknown>(
  method: string,
  url: string,
  { user, body, headers }: { user?: string; body?: unknown; headers?: Record<string, string> } = {},
): Promise<Answer<T>> {
  const response = await fetch(url, {
    method,
    headers: {
      ...(user !== undefined && bearer(user)),
      ...(body !== undefined && { "content-type": "application/json" }),
      ...headers,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    body: (text === "" ? undefined : JSON.parse(text)) as T,
  };
}

import { randomBytes, randomUUID } from "node:crypto";
import { services, type CloudEvent, type EventType } from "@event-flow/events";
import { DaprClient } from "@event-flow/service";

/** An event of the contract, as the backend makes it. */
export function eventOf<T extends EventType>(
  type: T,
  data: CloudEvent<T>["data"],
  changes: Partial<CloudEvent<T>> = {},
): CloudEvent<T> {
  return {
    specversion: "1.0",
    id: randomUUID(),
    source: services.backend.appId,
    type,
    subject: String(data.task_id),
    time: new Date().toISOString(),
    datacontenttype: "application/json",
    taskversion: 1,
    traceparent: `00-${randomBytes(16).toString("hex")}-${randomBytes(8).toString("hex")}-01`,
    data,
    ...changes,
  };
}

/** Publishes one event through a sidecar, and throws if the broker doesn't have it. */
export async function publish<T extends EventType>(
  sidecar: { readonly httpPort: number; readonly apiToken?: string | undefined },
  event: CloudEvent<T>,
): Promise<void> {
  const dapr = new DaprClient({ port: sidecar.httpPort, apiToken: sidecar.apiToken });
  try {
    const [refusal] = await dapr.publish(event.type, [event]);
    if (refusal !== undefined) throw refusal.error;
  } finally {
    await dapr.close();
  }
}

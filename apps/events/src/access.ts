import { deadLetterTopic } from "./dead-letters.ts";
import { eventTypes, topic, type EventType } from "./events.ts";
import { probeTopic, serviceKeys, services, type ServiceKey } from "./names.ts";
import { nextTaskPath } from "./next-task.ts";

/**
 * Who may do what by way of Dapr: the sidecars let nothing else through. Here and not with each service, as what a service may
 * is not for itself to say.
 */

/** The events that each service is delivered. */
export const handledEvents: Readonly<Record<ServiceKey, readonly EventType[]>> = {
  backend: [],
  notificationService: eventTypes,
  recurringTaskService: ["task_updated", "task_completed"],
  analyticsService: eventTypes,
};

/** The topics that a service may publish to, and those that it may subscribe to. */
export function topicsOf(service: ServiceKey): {
  readonly publishes: readonly string[];
  readonly subscribes: readonly string[];
} {
  if (service === "backend") {
    return { publishes: [...eventTypes.map((type) => topic(type)), probeTopic], subscribes: [] };
  }
  const deadLetters = deadLetterTopic(services[service]);
  return {
    publishes: [deadLetters],
    subscribes: [...handledEvents[service].map((type) => topic(type)), deadLetters],
  };
}

/** Every topic that somebody may publish to. */
export const permittedTopics: readonly string[] = serviceKeys.flatMap((service) => topicsOf(service).publishes);

/** A call that one service may make of another through both their sidecars. */
export interface PermittedCall {
  readonly caller: ServiceKey;
  readonly callee: ServiceKey;
  readonly methods: readonly ("GET" | "PUT")[];
  /**
   * In the words of Dapr's access control: between others, `**` is any one segment. Dapr lets through what is below it, too: the
   * callee has nothing there.
   */
  readonly path: string;
}

export const permittedCalls: readonly PermittedCall[] = [
  { caller: "recurringTaskService", callee: "backend", methods: ["GET", "PUT"], path: nextTaskPath("**", "**") },
];

import { z } from "zod";
import { eventTypes, longestName, topic } from "./events.ts";
import { subscribers, type ServiceIdentity } from "./names.ts";

/** The topic for messages that a subscriber gave up on. Each has its own: others may well have handled them. */
export function deadLetterTopic(subscriber: ServiceIdentity): string {
  return `task-events.dead-letter.${subscriber.name}`;
}

/** Every topic that there is: of each event type, and of each subscriber's dead letters. */
export const allTopics: readonly string[] = [
  ...eventTypes.map((type) => topic(type)),
  ...subscribers.map(deadLetterTopic),
];

/** A message that a subscriber gave up on, and why. */
export const deadLetterSchema = z.object({
  id: z.string().min(1).max(400).describe("Where the message was: `<topic>/<partition>/<offset>`"),
  // As Kafka has it: whoever can write to the topic of dead letters must not name another place by it.
  topic: z
    .string()
    .max(249)
    .regex(/^(?!\.{1,2}$)[\w.-]+$/)
    .describe("The topic that it came by, and is replayed to"),
  key: z.string().max(1_000).nullable().describe("Its partition key"),
  cause: z.string().min(1).max(2_000),
  failed_at: z.iso.datetime({ offset: true }),
  event: z.unknown().describe("The message as it was delivered; text if it is not JSON"),
  cut: z.literal(true).optional().describe("Set if it was too large to be kept, and `event` is how it begins"),
});

export type DeadLetter = z.infer<typeof deadLetterSchema>;

/** Where the subscriber's state store has its dead letters: a list of all but their events, and each one by its id. */
export const deadLetterKeys = { list: "dead-letters", letter: (id: string) => `dead-letter/${id}` } as const;

/** The list of them: the most recent first. */
export const deadLetterListSchema = z.array(
  deadLetterSchema.omit({ event: true }).extend({ event_id: z.string().max(longestName).nullable() }),
);

export type DeadLetterList = z.infer<typeof deadLetterListSchema>;

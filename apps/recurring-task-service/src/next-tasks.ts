import {
  madeSchema,
  nextTaskPath,
  premisesSchema,
  refusalSchema,
  services,
  type CloudEvent,
  type Series,
} from "@event-flow/events";
import { nextOccurrence } from "@event-flow/recurrence/occurrences";
import type { DaprClient, Invocation } from "@event-flow/service";
import type { Outcome } from "@event-flow/subscriber";
import { z } from "zod";

/** The backend doesn't take this service's token: no event is at fault, and as soon as both have the same one it goes on. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
}

/** What the next task is made of. */
interface Premises {
  readonly version: number;
  readonly due_date: string | null;
  readonly recurrence: Series | null;
}

/**
 * Has the backend make the task that follows a completed one: due at the first occurrence after the due date and after the
 * completion. Who completes a task early has it again when it would have come again, and who is late isn't given what was
 * missed. The backend makes it once, and only while the task is as the event tells: what was changed since has an event of its
 * own, which tells of everything that this needs.
 */
export async function followTask(
  dapr: DaprClient,
  token: string,
  event: CloudEvent<"task_completed" | "task_updated">,
): Promise<Outcome> {
  const { task_id: id, completed, ...data } = event.data;
  if (!completed) return none("open", `Task ${id} is open`);
  const call = callBackend(dapr, { id, token, traceparent: event.traceparent });

  const premises = premisesOf(event) ?? (await readPremises(call));
  if (premises === undefined) return none("gone", `Task ${id} was deleted`);
  const { version, due_date, recurrence } = premises;
  if (version !== event.taskversion) return "outdated";
  if (recurrence === null || due_date === null) return none("single", `Task ${id} doesn't recur`);
  const completedAt = "completed_at" in data ? data.completed_at : data.updated_at;
  const next = nextOccurrence(recurrence, new Date(Math.max(Date.parse(due_date), Date.parse(completedAt))));
  if (next === undefined) return none("last", `Task ${id} was the last of its series`);

  const due = next.toISOString();
  const { status, body } = await call("PUT", { version, due_date: due });
  switch (status) {
    case 201:
      return {
        outcome: "made",
        message: `NEXT TASK: ID ${madeSchema.parse(body).task_id}, due ${due}, follows ID ${id}`,
      };
    case 200:
      return "repeated";
    case 404:
      return none("gone", `Task ${id} was deleted`);
    case 409: {
      const { reason, message } = refusalSchema.parse(body);
      return reason === "changed" ? "outdated" : none(reason, message);
    }
    default:
      throw unexpected(status, body);
  }
}

/** What an event says; undefined if it knows nothing of recurrence, such as an older backend's during a rollout. */
function premisesOf({
  taskversion: version,
  data: { due_date, recurrence },
}: CloudEvent<"task_completed" | "task_updated">): Premises | undefined {
  return due_date === undefined || recurrence === undefined ? undefined : { version, due_date, recurrence };
}

type Call = ReturnType<typeof callBackend>;

function callBackend(
  dapr: DaprClient,
  { id, token, traceparent }: { id: number; token: string; traceparent: string | undefined },
) {
  return async (method: Invocation["method"], body?: object) => {
    const answer = await dapr.invoke(services.backend.appId, {
      method,
      path: nextTaskPath(id),
      headers: { authorization: `Bearer ${token}`, ...(traceparent !== undefined && { traceparent }) },
      ...(body !== undefined && { body }),
    });
    if (answer.status === 401) {
      throw new RefusedError("The backend doesn't take the token: NEXT_TASK_TOKEN isn't the same in both services");
    }
    return answer;
  };
}

async function readPremises(call: Call): Promise<Premises | undefined> {
  const { status, body } = await call("GET");
  if (status === 404) return undefined;
  if (status !== 200) throw unexpected(status, body);
  return premisesSchema.parse(body);
}

function none(outcome: string, why: string): Outcome {
  return { outcome, message: `No next task: ${why}` };
}

const errorSchema = z.object({ message: z.string() });

function unexpected(status: number, body: unknown): Error {
  return new Error(`The backend answered ${status}: ${errorSchema.safeParse(body).data?.message ?? "nothing more"}`);
}

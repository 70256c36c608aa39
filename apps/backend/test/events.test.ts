import { cloudEventSchema } from "@event-flow/events";
import { expect, test } from "vitest";
import { eventOf } from "../src/events.ts";

const change = {
  event_id: "5a1c8a8e-0a4c-4f6e-9a51-6e1f4e9a7c11",
  type: "task_completed",
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
} as const;

/** A task as JSON has it in the outbox. */
const task = {
  id: 7,
  user_id: "0a0a3f5c-6c1d-4c43-9a9a-5f0f0e6d3d10",
  title: "Water the plants",
  description: null,
  completed: true,
  priority_id: null,
  due_date: "2027-01-04T09:00:00+01:00",
  created_at: "2027-01-01T00:00:00+00:00",
  updated_at: "2027-01-04T08:00:00.123456+00:00",
  version: 2,
};

const delivered = (row: typeof task & Record<string, unknown>) =>
  cloudEventSchema("task_completed").parse(JSON.parse(JSON.stringify(eventOf({ ...change, task: row })))).data;

test("a task's series is told of, or that there is none", () => {
  const series = {
    recurrence_rule: "FREQ=DAILY",
    recurrence_time_zone: "Europe/Berlin",
    recurrence_start: "2027-01-01T09:00:00+01:00",
  };
  expect(delivered({ ...task, ...series })).toMatchObject({
    due_date: "2027-01-04T08:00:00.000Z",
    recurrence: { rule: "FREQ=DAILY", time_zone: "Europe/Berlin", starts_at: "2027-01-01T08:00:00.000Z" },
  });
  const none = { recurrence_rule: null, recurrence_time_zone: null, recurrence_start: null };
  expect(delivered({ ...task, ...none }).recurrence).toBeNull();
});

test("a change that an older replica noted during a rollout isn't said to be of a single task", () => {
  expect(delivered(task)).not.toHaveProperty("recurrence");
});

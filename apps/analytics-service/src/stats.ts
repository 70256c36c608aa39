import { sql } from "kysely";
import { z } from "zod";
import type { Database } from "./database.ts";

const count = z.int().nonnegative();

const changes = {
  created: count,
  completed: count.describe("How often a task was completed, be it for the first time or again"),
  reopened: count,
  deleted: count,
};

const daySchema = z.object({
  date: z.iso.date(),
  ...changes,
  open: count.describe("How many tasks were open when the day ended, or are now"),
  overdue: count.describe("How many of those were due before"),
});

export const statsSchema = z.object({
  from: z.iso.date(),
  to: z.iso.date(),
  time_zone: z.string(),
  open: count.describe("How many tasks are open now"),
  overdue: count.describe("How many of those were due before now"),
  ...changes,
  time_to_completion: z
    .object({
      tasks: count,
      average_seconds: z.number().nullable(),
      median_seconds: z.number().nullable(),
    })
    .describe(
      "From its creation to its last completion, of each task that this completed in the range and that stayed so",
    ),
  days: z.array(daySchema).describe("Each day of the range that has begun"),
});

export type Stats = z.infer<typeof statsSchema>;

/** The days from the first to the last, in a time zone. */
export interface Range {
  readonly from: string;
  readonly to: string;
  readonly time_zone: string;
}

interface Row {
  readonly days: readonly z.infer<typeof daySchema>[];
  readonly open: number;
  readonly overdue: number;
  readonly tasks: number;
  readonly average: number | null;
  readonly median: number | null;
}

/**
 * The figures of one user, or of all. Each change of a task is a step of some of them: open tasks, say, become one more by a
 * creation and one fewer by a completion. What is so at some time is the sum of the steps until then. A task also steps into
 * being overdue, which no event tells of, when it's due.
 */
export async function readStats(database: Database, userId: string | undefined, range: Range): Promise<Stats> {
  const { from, to, time_zone } = range;
  const dayOf = (time: "at" | "completed_at") => sql`(${sql.ref(time)} at time zone ${time_zone})::date`;
  const { rows } = await sql<Row>`
    with asked as (
      select ${from}::date as first, least(${to}::date, (now() at time zone ${time_zone})::date) as last
    ), known as (
      select user_id, task_id, version, type, at, completed, due_date,
        count(*) filter (where due_known) over (partition by user_id, task_id order by version) as dues
      from changes
      where ${userId === undefined ? sql`true` : sql`user_id = ${userId}`}
    ), states as (
      select user_id, task_id, type, at, completed,
        lag(completed) over task as before,
        coalesce(lead(at) over task, 'infinity') as until,
        -- What the last event said that said it.
        first_value(due_date) over (partition by user_id, task_id, dues order by version) as due
      from known
      window task as (partition by user_id, task_id order by version)
    ), late as (
      select greatest(at, due) as since, until
      from states
      where completed is false and due < until and greatest(at, due) <= now()
    ), steps as (
      select at,
        (type = 'task_created')::int as created,
        (completed and before is not true)::int as completed,
        (completed is false and before is true)::int as reopened,
        (type = 'task_deleted')::int as deleted,
        (completed is false)::int - (before is false)::int as open,
        0 as overdue
      from states
      union all
      select since, 0, 0, 0, 0, 0, 1 from late
      union all
      select until, 0, 0, 0, 0, 0, -1 from late where until < 'infinity'
    ), sums as (
      -- What was before the first day is where that begins.
      select greatest(${dayOf("at")}, first - 1) as day,
        sum(created) as created, sum(completed) as completed, sum(reopened) as reopened, sum(deleted) as deleted,
        sum(open) as open, sum(overdue) as overdue
      from steps, asked
      group by day
    ), days as (
      select first - 1 + nth as day, created, completed, reopened, deleted,
        sum(open) over (order by nth) as open,
        sum(overdue) over (order by nth) as overdue
      from asked
      cross join generate_series(0, last - first + 1) as nth
      left join sums on sums.day = first - 1 + nth
    ), completions as (
      select min(at) filter (where type = 'task_created') as created_at,
        max(at) filter (where completed and before is not true) as completed_at,
        max(at) filter (where completed is false and before is true) as reopened_at
      from states
      group by user_id, task_id
    ), times as (
      select extract(epoch from completed_at - created_at)::float as seconds
      from completions, asked
      where completed_at > coalesce(reopened_at, '-infinity') and ${dayOf("completed_at")} between first and last
    )
    select
      (
        select coalesce(
          json_agg(
            json_build_object(
              'date', day,
              'created', coalesce(created, 0),
              'completed', coalesce(completed, 0),
              'reopened', coalesce(reopened, 0),
              'deleted', coalesce(deleted, 0),
              'open', coalesce(open, 0),
              'overdue', coalesce(overdue, 0)
            )
            order by day
          ),
          '[]'
        )
        from days, asked
        where day >= first
      ) as days,
      (select coalesce(sum(open), 0)::int from steps) as open,
      (select coalesce(sum(overdue), 0)::int from steps) as overdue,
      (select count(seconds)::int from times) as tasks,
      (select avg(seconds) from times) as average,
      (select percentile_cont(0.5) within group (order by seconds) from times) as median
  `.execute(database);
  const [row] = rows;
  if (row === undefined) throw new Error("The database worked nothing out");
  const { days, open, overdue, tasks, average, median } = row;
  const sum = (figure: keyof typeof changes) => days.reduce((total, day) => total + day[figure], 0);
  return {
    ...{ from, to, time_zone, open, overdue },
    ...{ created: sum("created"), completed: sum("completed"), reopened: sum("reopened"), deleted: sum("deleted") },
    time_to_completion: { tasks, average_seconds: average, median_seconds: median },
    days: [...days],
  };
}

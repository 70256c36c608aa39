/** How much is measured, and for how long. */
export interface Plan {
  /** How often each peer has its turn. Every figure is the median over them. */
  readonly rounds: number;
  /** A turn begins with load that isn't measured: only code that ran for a while has been compiled. */
  readonly warmUpSeconds: number;
  readonly connections: readonly number[];
  readonly closedSeconds: number;
  readonly openSeconds: Readonly<Record<OpenRate, number>>;
  readonly backlogs: readonly number[];
  /** How many replicas of the notification service, at most, and how many events they handle. */
  readonly replicas: number;
  readonly replicaEvents: number;
  /** How many messages Kafka's own producer sends, and how many its own round trip takes. */
  readonly kafkaMessages: number;
  readonly kafkaRoundTrips: number;
  readonly profileSeconds: number;
}

export const openRates = [10, 200] as const;

export type OpenRate = (typeof openRates)[number];

export const fullPlan: Plan = {
  rounds: 3,
  warmUpSeconds: 15,
  connections: [1, 16, 64],
  closedSeconds: 5,
  // 200/s for 17 s, three times: about 10,000 events.
  openSeconds: { 10: 8, 200: 17 },
  backlogs: [1_000, 10_000, 100_000],
  replicas: 4,
  replicaEvents: 6_000,
  kafkaMessages: 300_000,
  kafkaRoundTrips: 5_000,
  profileSeconds: 20,
};

/** To try the bench itself: its figures say little. */
export const quickPlan: Plan = {
  rounds: 1,
  warmUpSeconds: 1,
  connections: [1, 16],
  closedSeconds: 1,
  openSeconds: { 10: 2, 200: 2 },
  backlogs: [1_000, 10_000],
  replicas: 2,
  replicaEvents: 500,
  kafkaMessages: 20_000,
  kafkaRoundTrips: 300,
  profileSeconds: 3,
};

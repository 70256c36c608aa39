import type { Check } from "../check.ts";
import { certificates } from "./certificates.ts";
import { components } from "./components.ts";
import { consumers } from "./consumers.ts";
import { controlPlane } from "./control-plane.ts";
import { deadLetters } from "./dead-letters.ts";
import { injection } from "./injection.ts";
import { network } from "./network.ts";
import { outbox } from "./outbox.ts";
import { pods } from "./pods.ts";
import { publishing } from "./publishing.ts";
import { secrets } from "./secrets.ts";
import { subscriptions } from "./subscriptions.ts";
import { versions } from "./versions.ts";

/** In the order in which an event could be kept from its way. */
export const checks: readonly Check[] = [
  controlPlane,
  injection,
  pods,
  network,
  secrets,
  components,
  subscriptions,
  publishing,
  outbox,
  consumers,
  deadLetters,
  certificates,
  versions,
];

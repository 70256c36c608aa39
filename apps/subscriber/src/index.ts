export { ConflictError } from "./dead-letters.ts";
export { createSubscriber, subscriberEnvironment, type SubscriberOptions } from "./subscriber.ts";
export {
  subscription,
  type Context,
  type Handler,
  type Handlers,
  type Outcome,
  type Subscription,
} from "./subscriptions.ts";

import path from "node:path";

/** A file or folder in `fixtures/`. */
export const fixture = (name: string) => path.join(import.meta.dirname, "..", "fixtures", name);

/** A config for stack dev that needs no Minikube, no network and no sources. */
export const devConfig = {
  "event-flow:environment": "dev",
  "event-flow:kubeconfig": fixture("kubeconfig.yaml"),
  "event-flow:daprChart": fixture("dapr-chart"),
  "event-flow:images": JSON.stringify({
    from: "prebuilt",
    backend: "backend:test",
    notificationService: "notification-service:test",
  }),
};

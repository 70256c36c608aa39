import type * as k8s from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import type { BrokerConnection } from "./dapr-component.ts";

/** Who a program of the services' image (`apps/service`) is to the broker, as variables of its environment. */
export function saslVariables(auth: BrokerConnection["auth"]): pulumi.Input<k8s.types.input.core.v1.EnvVar>[] {
  switch (auth.type) {
    case "none":
      return [];
    case "password":
      return [
        { name: "SASL_USERNAME", valueFrom: { secretKeyRef: auth.username } },
        { name: "SASL_PASSWORD", valueFrom: { secretKeyRef: auth.password } },
        { name: "SASL_MECHANISM", value: auth.mechanism },
        ...(auth.ca === undefined ? [] : [{ name: "CA_CERT", value: auth.ca }]),
      ];
  }
}

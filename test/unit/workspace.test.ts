import { expect, test } from "vitest";
import { minikubeStart } from "../../commands/workspace.ts";

test("a new Minikube gets a network that enforces NetworkPolicies", () => {
  const starts = ["--profile=minikube", "start", "--cni=calico"];
  expect(minikubeStart('{"invalid":[],"valid":[]}')).toEqual(starts);
  expect(minikubeStart('{"invalid":null,"valid":[{"Name":"of-another-project","Status":"Running"}]}')).toEqual(starts);
});

test("one that is there keeps its own, sound or not", () => {
  const starts = ["--profile=minikube", "start"];
  expect(minikubeStart('{"invalid":[],"valid":[{"Name":"minikube","Status":"Stopped"}]}')).toEqual(starts);
  expect(minikubeStart('{"invalid":[{"Name":"minikube"}],"valid":[]}')).toEqual(starts);
});

import { describe, expect, test } from "vitest";
import { isLocalServer, parseKubeconfig } from "../../components/kube-context.ts";

describe("a server is on this machine or a private network", () => {
  test.each([
    "https://127.0.0.1:6443",
    "https://localhost:6443",
    "https://0.0.0.0:6550",
    "https://[::1]:6443",
    "https://10.96.0.1",
    "https://172.16.0.1:6443",
    "https://172.31.255.254:6443",
    "https://192.168.49.2:8443",
    "https://[fd00::1]:6443",
    "https://kubernetes.docker.internal:6443",
    "https://host.docker.internal:6443",
    "https://LOCALHOST:6443",
  ])("%s", (server) => {
    expect(isLocalServer(server)).toBe(true);
  });
});

describe("a server is elsewhere", () => {
  test.each([
    "https://0f1e2d3c.k8s.ondigitalocean.com",
    "https://172.32.0.1",
    "https://11.0.0.1",
    "https://8.8.8.8:6443",
    "https://[2001:db8::1]:6443",
    "https://localhost.example.com",
    "https://internal.example.com",
    "https://10.0.0.1.example.com",
    "https://127.0.0.1@example.com",
    "not a URL",
    "",
  ])("%s", (server) => {
    expect(isLocalServer(server)).toBe(false);
  });
});

describe("kubeconfig files", () => {
  test("are merged as kubectl does: the first of a name wins", () => {
    const first =
      "contexts: [{ name: a, context: { cluster: one } }]\nclusters: [{ name: one, cluster: { server: https://1 } }]";
    const second =
      "contexts: [{ name: a, context: { cluster: two } }, { name: b, context: { cluster: one } }]\nclusters: [{ name: one, cluster: { server: https://2 } }]";
    expect([...parseKubeconfig(first, second).contexts]).toEqual([
      ["a", "https://1"],
      ["b", "https://1"],
    ]);
  });

  test("may be empty", () => {
    expect(parseKubeconfig("", "apiVersion: v1\nclusters: null\ncontexts: null").contexts.size).toBe(0);
  });
});

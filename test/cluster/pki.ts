// The certificate library looks for this polyfill when it is loaded.
import "reflect-metadata";
import { type webcrypto } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { type Layout } from "./layout.ts";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const tenYears = 10 * 365 * 24 * 3600 * 1000;

function keys(): Promise<webcrypto.CryptoKeyPair> {
  return crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

async function toPem(key: webcrypto.CryptoKey): Promise<string> {
  const [format, label] =
    key.type === "private" ? (["pkcs8", "PRIVATE KEY"] as const) : (["spki", "PUBLIC KEY"] as const);
  return `${x509.PemConverter.encode(await crypto.subtle.exportKey(format, key), label)}\n`;
}

function validity() {
  const now = Date.now();
  // An hour ago: the clocks of the parts may differ.
  return { notBefore: new Date(now - 3600_000), notAfter: new Date(now + tenYears) };
}

/** Writes `<name>.crt` and `<name>.key`. */
export type Issue = (name: string, subject: string, addresses?: readonly x509.JsonGeneralName[]) => Promise<void>;

/** Makes an authority, whose certificate is `ca.crt` in the folder, and returns how it issues others. */
export async function authority(dir: string, commonName: string): Promise<Issue> {
  const caKeys = await keys();
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${commonName}`,
    keys: caKeys,
    signingAlgorithm: algorithm,
    ...validity(),
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  writeFileSync(join(dir, "ca.crt"), `${ca.toString("pem")}\n`);
  writeFileSync(join(dir, "ca.key"), await toPem(caKeys.privateKey), { mode: 0o600 });
  return async (name, subject, addresses = []) => {
    const own = await keys();
    const certificate = await x509.X509CertificateGenerator.create({
      subject,
      issuer: ca.subject,
      publicKey: own.publicKey,
      signingKey: caKeys.privateKey,
      signingAlgorithm: algorithm,
      ...validity(),
      extensions: [
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
        ...(addresses.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension([...addresses])]),
      ],
    });
    writeFileSync(join(dir, `${name}.crt`), `${certificate.toString("pem")}\n`);
    writeFileSync(join(dir, `${name}.key`), await toPem(own.privateKey), { mode: 0o600 });
  };
}

/** Makes the cluster's certificates and keys, unless they are there. */
export async function createPki(cluster: Layout): Promise<void> {
  const done = join(cluster.pki, "complete");
  if (existsSync(done)) return;
  mkdirSync(cluster.pki, { recursive: true, mode: 0o700 });
  const issue = await authority(cluster.pki, "event-flow-ca");
  const ip = (value: string) => ({ type: "ip", value }) as const;
  const dns = (value: string) => ({ type: "dns", value }) as const;
  await issue("apiserver", "CN=kube-apiserver", [
    ip(cluster.nodeAddress),
    ip(cluster.apiServiceAddress),
    ip("127.0.0.1"),
    dns("kubernetes"),
    dns("kubernetes.default"),
    dns("kubernetes.default.svc"),
    dns("kubernetes.default.svc.cluster.local"),
  ]);
  await issue("kubelet", `O=system:nodes,CN=system:node:${cluster.id}`, [ip(cluster.nodeAddress), dns(cluster.id)]);
  await issue("apiserver-kubelet-client", "O=system:masters,CN=kube-apiserver-kubelet-client");
  await issue("admin", "O=system:masters,CN=admin");
  await issue("controller-manager", "CN=system:kube-controller-manager");
  await issue("scheduler", "CN=system:kube-scheduler");
  await issue("kube-proxy", "CN=system:kube-proxy");
  const serviceAccounts = await keys();
  writeFileSync(join(cluster.pki, "service-accounts.key"), await toPem(serviceAccounts.privateKey), { mode: 0o600 });
  writeFileSync(join(cluster.pki, "service-accounts.pub"), await toPem(serviceAccounts.publicKey));
  writeFileSync(done, "");
}

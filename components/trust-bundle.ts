// What @peculiar/x509 needs to be there first.
import "reflect-metadata";
import type { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

/** What Dapr's sentry issues certificates by, in PEM: a root, and an issuer that the root signed. Nobody has the root's own key. */
export interface TrustBundle {
  readonly root: string;
  readonly issuer: string;
  readonly issuerKey: string;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const name = "CN=cluster.local";
const years = 10;

export async function makeTrustBundle(): Promise<TrustBundle> {
  const [rootKeys, issuerKeys] = await Promise.all([generateKeys(), generateKeys()]);
  const notAfter = new Date();
  notAfter.setFullYear(notAfter.getFullYear() + years);
  const common = {
    // Clocks of nodes may be behind this one's.
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter,
    signingAlgorithm: algorithm,
  };
  const usage = new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true);
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    ...common,
    name,
    keys: rootKeys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      usage,
      await x509.SubjectKeyIdentifierExtension.create(rootKeys.publicKey),
    ],
  });
  const issuer = await x509.X509CertificateGenerator.create({
    ...common,
    subject: name,
    issuer: root.subject,
    publicKey: issuerKeys.publicKey,
    signingKey: rootKeys.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      usage,
      await x509.SubjectKeyIdentifierExtension.create(issuerKeys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(rootKeys.publicKey),
    ],
  });
  const key = await crypto.subtle.exportKey("pkcs8", issuerKeys.privateKey);
  return {
    root: root.toString("pem"),
    issuer: issuer.toString("pem"),
    issuerKey: x509.PemConverter.encode(key, "PRIVATE KEY"),
  };
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

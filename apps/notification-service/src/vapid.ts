import { createECDH, hkdfSync } from "node:crypto";

/** By what a push service knows this system, and browsers bind their subscriptions to it (RFC 8292). */
export interface VapidKeys {
  /** The point, uncompressed, in base64url: what browsers take as `applicationServerKey`. */
  readonly publicKey: string;
  readonly privateKey: string;
}

const curve = "prime256v1";

/** How many points there are on P-256: private keys are less. */
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/**
 * Makes the key pair of a secret, always the same: a random password, which Pulumi makes, is all that has to be kept. HKDF
 * gives 128 bits more than the key has, so that the remainder favours none (FIPS 186-5, A.2.1).
 */
export function vapidKeys(secret: string): VapidKeys {
  const bits = Buffer.from(hkdfSync("sha256", secret, "", "event-flow web push vapid", 48));
  const scalar = (BigInt(`0x${bits.toString("hex")}`) % (order - 1n)) + 1n;
  const privateKey = Buffer.from(scalar.toString(16).padStart(64, "0"), "hex");
  const ecdh = createECDH(curve);
  ecdh.setPrivateKey(privateKey);
  return { publicKey: ecdh.getPublicKey("base64url"), privateKey: privateKey.toString("base64url") };
}

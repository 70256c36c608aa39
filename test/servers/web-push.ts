import { createDecipheriv, type ECDH, hkdfSync } from "node:crypto";

/** What a subscriber keeps to itself. */
export interface PushKeys {
  readonly ecdh: ECDH;
  readonly auth: Buffer;
}

function derive(key: Buffer, salt: Buffer, info: Buffer | string, length: number): Buffer {
  return Buffer.from(hkdfSync("sha256", key, salt, info, length));
}

/** Decrypts a pushed message of one record (RFC 8291 upon RFC 8188), apart from the library that encrypts. */
export function decrypt({ ecdh, auth }: PushKeys, body: Buffer): Buffer {
  const salt = body.subarray(0, 16);
  const senderKey = body.subarray(21, 21 + body.readUInt8(20));
  const record = body.subarray(21 + senderKey.length);
  const info = Buffer.concat([Buffer.from("WebPush: info\0"), ecdh.getPublicKey(), senderKey]);
  const key = derive(ecdh.computeSecret(senderKey), auth, info, 32);
  const decipher = createDecipheriv(
    "aes-128-gcm",
    derive(key, salt, "Content-Encoding: aes128gcm\0", 16),
    derive(key, salt, "Content-Encoding: nonce\0", 12),
  );
  decipher.setAuthTag(record.subarray(-16));
  const padded = Buffer.concat([decipher.update(record.subarray(0, -16)), decipher.final()]);
  // The last record's text ends in 2, and zeroes after it.
  const end = padded.lastIndexOf(2);
  if (end === -1 || padded.subarray(end + 1).some((byte) => byte !== 0)) throw new Error("The padding is wrong");
  return padded.subarray(0, end);
}

/** A certificate for `localhost` that serves a server, a client, and as the authority of itself. */
import { generateKeyPairSync, randomBytes, sign } from "node:crypto";

/** A DER value (X.690): tag, length, contents. */
const der = (tag: number, ...contents: readonly Uint8Array[]): Buffer => {
  const body = Buffer.concat(contents);
  const size = body.length;
  const length = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
};

const sequence = (...parts: readonly Uint8Array[]): Buffer => der(0x30, ...parts);
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");
const text = (tag: number, value: string): Buffer => der(tag, Buffer.from(value));

/** Object identifiers, encoded. */
const oid = {
  commonName: hex("06 03 55 04 03"),
  ecdsaWithSha256: hex("06 08 2a 86 48 ce 3d 04 03 02"),
  basicConstraints: hex("06 03 55 1d 13"),
  keyUsage: hex("06 03 55 1d 0f"),
  extendedKeyUsage: hex("06 03 55 1d 25"),
  subjectAltName: hex("06 03 55 1d 11"),
  serverAuth: hex("06 08 2b 06 01 05 05 07 03 01"),
  clientAuth: hex("06 08 2b 06 01 05 05 07 03 02"),
} as const;

const isTrue = hex("01 01 ff");
const extension = (
  name: Uint8Array,
  value: Uint8Array,
  ...critical: readonly Uint8Array[]
): Buffer => sequence(name, ...critical, der(0x04, value));

/** UTCTime, to the second. */
const time = (date: Date): Buffer =>
  text(0x17, `${date.toISOString().slice(2, 19).replaceAll(/[-:T]/g, "")}Z`);

const pem = (bytes: Buffer): string => {
  const lines = bytes.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
};

/** PEM, valid from yesterday to tomorrow. */
export const makeCertificate = (): { certificate: string; key: string } => {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const algorithm = sequence(oid.ecdsaWithSha256);
  const name = sequence(der(0x31, sequence(oid.commonName, text(0x0c, "localhost"))));
  const day = 86_400_000;
  const extensions = sequence(
    extension(oid.basicConstraints, sequence(isTrue), isTrue),
    // Digital signature, signature of certificates.
    extension(oid.keyUsage, hex("03 02 02 84"), isTrue),
    extension(oid.extendedKeyUsage, sequence(oid.serverAuth, oid.clientAuth)),
    extension(oid.subjectAltName, sequence(text(0x82, "localhost"))),
  );
  const content = sequence(
    der(0xa0, hex("02 01 02")),
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    algorithm,
    name,
    sequence(time(new Date(Date.now() - day)), time(new Date(Date.now() + day))),
    name,
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, extensions),
  );
  const signature = der(0x03, Buffer.from([0]), sign("sha256", content, privateKey));
  return {
    certificate: pem(sequence(content, algorithm, signature)),
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
};

/** Certificates of a control plane that lives for a test or an afternoon, made by openssl. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const days = "30";

const openssl = (directory: string, ...args: readonly string[]): void => {
  const done = spawnSync("openssl", args, { cwd: directory, encoding: "utf8" });
  if (done.error !== undefined) {
    throw new Error(`certificates need openssl, which cannot be run: ${done.error.message}`);
  }
  if (done.status !== 0) throw new Error(`openssl ${args[0]}: ${done.stderr.trim()}`);
};

/** Who a certificate is for. */
export interface Subject {
  /** Of its files: `<name>.crt`, `<name>.key`. */
  readonly name: string;
  /** As openssl writes it: `/O=group/CN=user`. */
  readonly subject: string;
  /** Names and addresses of a server, such as `DNS:localhost` and `IP:127.0.0.1`. */
  readonly serves?: readonly string[];
}

const keyOf = (directory: string, name: string): void => {
  openssl(directory, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", `${name}.key`);
};

const sign = (directory: string, { name, serves, subject }: Subject): void => {
  keyOf(directory, name);
  openssl(directory, "req", "-new", "-key", `${name}.key`, "-subj", subject, "-out", "one.csr");
  const usage = serves === undefined ? "clientAuth" : "serverAuth,clientAuth";
  const lines = ["keyUsage=critical,digitalSignature", `extendedKeyUsage=${usage}`];
  if (serves !== undefined) lines.push(`subjectAltName=${serves.join(",")}`);
  writeFileSync(join(directory, "one.ext"), `${lines.join("\n")}\n`);
  const authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
  const files = ["-in", "one.csr", "-extfile", "one.ext", "-out", `${name}.crt`];
  openssl(directory, "x509", "-req", ...files, ...authority, "-days", days);
  for (const file of ["one.csr", "one.ext"]) rmSync(join(directory, file));
};

/** Makes an authority (`ca`), the pair for service accounts (`sa`), and what is asked for. */
export const makeCertificates = (directory: string, subjects: readonly Subject[]): void => {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  keyOf(directory, "ca");
  const may = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"];
  const extensions = may.flatMap((one) => ["-addext", one]);
  const ca = ["-x509", "-new", "-key", "ca.key", "-subj", "/CN=millrace-test-ca", "-days", days];
  openssl(directory, "req", ...ca, "-out", "ca.crt", ...extensions);
  for (const subject of subjects) sign(directory, subject);
  openssl(directory, "genrsa", "-out", "sa.key", "2048");
  openssl(directory, "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub");
};

/** A kubeconfig, in JSON, with everything in it: it can be moved. */
export const kubeconfigOf = (directory: string, user: string, server: string): string => {
  const data = (file: string): string => readFileSync(join(directory, file)).toString("base64");
  const cluster = { server, "certificate-authority-data": data("ca.crt") };
  const client = {
    "client-certificate-data": data(`${user}.crt`),
    "client-key-data": data(`${user}.key`),
  };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "millrace", cluster }],
    users: [{ name: user, user: client }],
    contexts: [{ name: "millrace", context: { cluster: "millrace", user } }],
    "current-context": "millrace",
  });
};

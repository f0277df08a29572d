/** TLS in both directions, and users. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import { isOutcomeUnknown, type MetadataStore } from "@millrace/metadata";
import { type EtcdOptions, openEtcdStore } from "@millrace/metadata/etcd";
import { makeCertificate } from "./certificate.ts";
import { Etcd, skipped } from "./etcd.ts";

const [clock, random] = [nodeClock(), nodeRandom()];
const directory = mkdtempSync(join(tmpdir(), "millrace-security-"));
after(() => rmSync(directory, { recursive: true }));

const put = [{ type: "put", key: "k", value: Buffer.from("v") }] as const;

const open = (options: Partial<EtcdOptions> & Pick<EtcdOptions, "endpoints">): MetadataStore =>
  openEtcdStore({ clock, random, logger: silentLogger, root: "/millrace/secure/", ...options });

/** Everything that a store does once. */
const works = async (store: MetadataStore): Promise<void> => {
  const { revision } = await store.txn([], put);
  assert.equal((await store.range({ key: "k" })).kvs.length, 1);
  const lease = await store.grantLease(60);
  assert.equal(await store.keepAlive(lease.id), true);
  await store.revokeLease(lease.id);
  const seen = new Promise<number>((resolve, reject) => {
    store.watch({ prefix: "" }, revision, {
      onBatch: ({ events }) => resolve(events.length),
      onEnd: (end) => reject(new Error(end.reason)),
    });
  });
  assert.equal(await seen, 1);
};

const refused = async (store: MetadataStore): Promise<void> => {
  const thrown = await store.txn([], put, [], { timeoutMs: 1000 }).then(
    () => assert.fail("it is let in"),
    (error: unknown) => error,
  );
  assert.ok(hasCode(thrown, ErrorCode.UNAVAILABLE), String(thrown));
  assert.equal(isOutcomeUnknown(thrown), false);
  await store.close();
};

test("TLS: the server is checked, and so is the client", {
  skip: skipped,
}, async (context) => {
  const own = makeCertificate();
  const [cert, key] = ["cert.pem", "key.pem"].map((name) => join(directory, name));
  assert.ok(cert !== undefined && key !== undefined);
  writeFileSync(cert, own.certificate);
  writeFileSync(key, own.key);
  const etcd = await Etcd.start({
    tls: true,
    flags: [
      "--cert-file",
      cert,
      "--key-file",
      key,
      "--trusted-ca-file",
      cert,
      "--client-cert-auth",
    ],
  });
  context.after(() => etcd.remove());
  const endpoints = [etcd.endpoint];
  const ca = Buffer.from(own.certificate);
  const tls = { ca, certificate: ca, key: Buffer.from(own.key) };
  const store = open({ endpoints, tls });
  await works(store);
  await store.close();
  const address = etcd.endpoint.replace("localhost", "127.0.0.1");
  const named = open({ endpoints: [address], tls, serverName: "localhost" });
  await works(named);
  await named.close();
  await refused(open({ endpoints: [address], tls, serverName: "elsewhere" }));
  await refused(open({ endpoints, tls: { ca } }));
  await refused(open({ endpoints }));
  await refused(open({ endpoints: [etcd.endpoint.replace("https", "http")] }));
});

test("users: what a user may do, and what happens when the login ends", {
  skip: skipped,
}, async (context) => {
  const etcd = await Etcd.start({ flags: ["--auth-token-ttl", "1"] });
  context.after(() => etcd.remove());
  etcd.ctl("user", "add", "root:secret");
  etcd.ctl("user", "grant-role", "root", "root");
  etcd.ctl("role", "add", "millrace");
  etcd.ctl("role", "grant-permission", "millrace", "readwrite", "/millrace/secure/", "--prefix");
  etcd.ctl("user", "add", "millrace:hush");
  etcd.ctl("user", "grant-role", "millrace", "millrace");
  etcd.ctl("auth", "enable");
  const endpoints = [etcd.endpoint];
  const credentials = { user: "millrace", password: "hush" };
  const store = open({ endpoints, credentials });
  context.after(() => store.close());
  await works(store);
  // Nobody has used the token meanwhile.
  await clock.sleep(2500);
  await works(store);
  const root = ["--user", "root:secret"];
  etcd.ctl(...root, "role", "add", "another");
  etcd.ctl(...root, "user", "grant-role", "millrace", "another");
  await works(store);
  await refused(open({ endpoints, credentials: { user: "millrace", password: "wrong" } }));
  await refused(open({ endpoints }));
  await refused(open({ endpoints, credentials, root: "/millrace/other/" }));
});

test("endpoints and certificates that cannot be are refused", () => {
  const pem = Buffer.from("pem");
  for (const options of [
    { endpoints: [] },
    { endpoints: ["127.0.0.1:2379"] },
    { endpoints: ["http://127.0.0.1"] },
    { endpoints: ["http://a:1", "https://b:1"] },
    { endpoints: ["http://a:1"], tls: { ca: pem } },
    { endpoints: ["https://a:1"], tls: { ca: pem, certificate: pem } },
    { endpoints: ["https://a:1"], tls: { ca: pem, key: pem } },
    { endpoints: ["https://a:1", "https://10.0.0.1:1"] },
    { endpoints: ["https://[::1]:1"] },
    { endpoints: ["http://a:1"], root: "" },
  ]) {
    assert.throws(
      () => open(options),
      (thrown) => hasCode(thrown, ErrorCode.INVALID_CONFIG),
      JSON.stringify(options),
    );
  }
});

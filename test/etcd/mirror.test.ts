/** Mirrors and guarded writes on a real etcd, also one that was restored from a backup. */
import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import {
  GuardedWriter,
  type MetadataStore,
  Mirror,
  newGeneration,
  type Operation,
  putGeneration,
  type Reset,
  renewGeneration,
} from "@millrace/metadata";
import { openEtcdStore } from "@millrace/metadata/etcd";
import { clusterRecord } from "@millrace/metadata/testing";
import { clusterStoreContract } from "../../packages/metadata/src/testing/cluster-store-contract.ts";
import { mirrorContract } from "../../packages/metadata/src/testing/mirror-contract.ts";
import { Etcd, skipped } from "./etcd.ts";
import { FaultyLink } from "./faulty-link.ts";

const [clock, random] = [nodeClock(), nodeRandom()];
let spaces = 0;

const open = (endpoint: string, root = `/millrace/space-${++spaces}/`): MetadataStore =>
  openEtcdStore({ clock, random, logger: silentLogger, endpoints: [endpoint], root });

const put = (key: string, value: string): Operation => ({
  ...{ type: "put", key, value: Buffer.from(value) },
});
const textOf = (mirror: Mirror, key: string): string =>
  Buffer.from(mirror.get(key)?.value ?? []).toString();
const until = async (done: () => boolean): Promise<void> => {
  for (let i = 0; i < 2000 && !done(); i += 1) await clock.sleep(10);
  assert.ok(done(), "it never happened");
};

const mirrorOf = async (context: TestContext, store: MetadataStore) => {
  const errors: string[] = [];
  const logger = { ...silentLogger, error: (_: unknown, message: string) => errors.push(message) };
  const mirror = new Mirror({ store, clock, random, logger });
  context.after(() => mirror.close());
  const resets: Reset[] = [];
  mirror.onReset((reset) => resets.push(reset));
  await mirror.start();
  return { mirror, resets, errors };
};

if (skipped !== false) test("mirrors on etcd", { skip: skipped }, () => {});
else {
  let etcd: Etcd;
  before(async () => {
    etcd = await Etcd.start();
  });
  after(() => etcd.remove());

  mirrorContract("etcd", async () => open(etcd.endpoint));
  clusterStoreContract("etcd", async () => open(etcd.endpoint));

  test("a change under another root moves the revision of a mirror, and nothing else", async (context) => {
    const [own, other] = [open(etcd.endpoint), open(etcd.endpoint)];
    context.after(() => Promise.all([own.close(), other.close()]));
    await own.txn([], [put("a", "1")]);
    const { mirror } = await mirrorOf(context, own);
    const { revision } = await other.txn([], [put("a", "2")]);
    assert.equal(await mirror.waitForRevision(revision, 5000), true);
    assert.equal(textOf(mirror, "a"), "1");
  });

  test("guarded writes through a connection that breaks are counted right", async (context) => {
    const link = await FaultyLink.start(etcd.clientPort);
    const root = "/millrace/guarded/";
    const [direct, store] = [open(etcd.endpoint, root), open(link.endpoint, root)];
    context.after(async () => {
      await Promise.all([direct.close(), store.close()]);
      await link.close();
    });
    const writer = new GuardedWriter({ store, clock, random, writer: "w" });
    const adds = 200;
    for (let i = 0; i < adds; i += 1) {
      const [kv] = (await direct.range({ key: "n" })).kvs;
      const equals = kv?.modRevision ?? 0;
      const next = String(Number(Buffer.from(kv?.value ?? []).toString() || "0") + 1);
      if (i % 4 === 0) setTimeout(() => link.cut(), random.float() * 3);
      // Now and then the answer is lost: etcd has done it, or not.
      const isLost = i % 50 === 25;
      const added = writer.txn([{ key: "n", target: "modRevision", equals }], [put("n", next)]);
      if (isLost) {
        link.stall("down", 5000);
        setTimeout(() => {
          link.stall("down", 0);
          link.cut();
        }, 30);
      }
      const { succeeded, revision } = await added;
      assert.ok(succeeded);
      assert.equal((await direct.range({ key: "n" })).kvs[0]?.modRevision, revision);
    }
    const [kv] = (await direct.range({ key: "n" })).kvs;
    assert.equal(Buffer.from(kv?.value ?? []).toString(), String(adds));
    assert.equal(kv?.version, adds);
    context.diagnostic(`${writer.resolved} outcomes had to be found out`);
    assert.ok(writer.resolved > 0);
  });

  test("a mirror of an etcd that was restored from a backup says so, and reads it anew", async (context) => {
    const own = await Etcd.start();
    context.after(() => own.remove());
    const store = open(own.endpoint, "/millrace/restored/");
    context.after(() => store.close());
    const generation = newGeneration(random);
    await store.txn(
      [],
      [clusterRecord("c"), putGeneration(generation), put("kept", "old"), put("lost", "1")],
    );
    const backup = own.snapshot("backup");
    for (let i = 0; i < 5; i += 1) await store.txn([], [put("kept", `new ${i}`)]);
    await store.txn([], [put("after", "1")]);
    const { mirror, resets, errors } = await mirrorOf(context, store);
    const { revision } = mirror;
    assert.equal(textOf(mirror, "kept"), "new 4");
    await own.restore(backup);
    await until(() => resets.length === 1);
    assert.equal(resets[0]?.before.revision, revision);
    assert.ok(mirror.revision < revision);
    assert.deepEqual(
      mirror.entries("").map(({ key }) => key),
      ["cluster", "generation", "kept", "lost"],
    );
    assert.equal(textOf(mirror, "kept"), "old");
    assert.ok(errors.length > 0);
    const { revision: later } = await store.txn([], [put("kept", "later")]);
    assert.equal(await mirror.waitForRevision(later, 10_000), true);
    assert.equal(textOf(mirror, "kept"), "later");

    // As etcd's documentation has it for clients that remember revisions.
    await own.restore(backup, "--bump-revision", "1000000", "--mark-compacted");
    const renewed = await renewGeneration(store, random);
    await until(() => mirror.generation === renewed);
    assert.ok(mirror.revision > 1_000_000);
    assert.equal(textOf(mirror, "kept"), "old");
    assert.equal(resets.length, 2);
    assert.equal(mirror.missed, 0);
  });
}

/** A store on three members of which some die, hang, or know no leader. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import { isOutcomeUnknown, type MetadataStore, Mirror } from "@millrace/metadata";
import { openEtcdStore } from "@millrace/metadata/etcd";
import { Etcd, skipped } from "./etcd.ts";

const [clock, random] = [nodeClock(), nodeRandom()];
const put = (value: string) => [{ type: "put", key: "k", value: Buffer.from(value) } as const];

if (skipped !== false) test("fail-over between members of etcd", { skip: skipped }, () => {});
else {
  let members: Etcd[] = [];
  let store: MetadataStore;
  let mirror: Mirror;
  const openStore = (): MetadataStore =>
    openEtcdStore({
      // The first member is asked first.
      ...{ clock, random: { ...random, below: () => 0 }, logger: silentLogger },
      ...{ endpoints: members.map(({ endpoint }) => endpoint), root: "/millrace/failover/" },
    });
  before(async () => {
    members = await Etcd.cluster(3);
    store = openStore();
    mirror = new Mirror({ store, clock, random, logger: silentLogger });
    for (let i = 0; i < 100; i += 1) {
      if (await store.range({ key: "k" }).catch(() => undefined)) break;
    }
    await mirror.start();
  });
  after(async () => {
    mirror.close();
    await store.close();
    await Promise.all(members.map((member) => member.remove()));
  });

  /** Writes until it is known to be done. */
  const write = async (value: string): Promise<number> => {
    const begin = clock.monoMs();
    for (;;) {
      try {
        return (await store.txn([], put(value))).revision;
      } catch (thrown) {
        assert.ok(hasCode(thrown, ErrorCode.UNAVAILABLE), String(thrown));
        if (clock.monoMs() - begin > 20_000) throw thrown;
      }
    }
  };
  const mirrored = async (revision: number): Promise<void> => {
    assert.ok(await mirror.waitForRevision(revision, 20_000), "the mirror has not followed");
    assert.deepEqual([mirror.missed, mirror.resets], [0, 0]);
  };

  test("a member that dies is left for another", async () => {
    await mirrored(await write("1"));
    await members[0]?.kill();
    const { kvs } = await store.range({ key: "k" });
    assert.equal(Buffer.from(kvs[0]?.value ?? []).toString(), "1");
    await mirrored(await write("2"));
    await members[0]?.run();
    await mirrored(await write("3"));
  });

  test("a member that hangs is left for another within the time of a call", async () => {
    const other = openStore();
    await other.range({ key: "k" });
    const [hung] = members;
    hung?.signal("SIGSTOP");
    try {
      const begin = clock.monoMs();
      // etcd may have to elect another leader first.
      await other.range({ key: "k" }, { timeoutMs: 12_000 });
      assert.ok(clock.monoMs() - begin < 12_000);
      await mirrored(await write("4"));
    } finally {
      hung?.signal("SIGCONT");
    }
    await mirrored(await write("5"));
    await other.close();
  });

  test("a member without a leader refuses, and its watches end", async () => {
    let ended = 0;
    const { revision } = await store.range({ key: "k" });
    store.watch({ key: "k" }, revision + 1, {
      onBatch: () => {},
      onEnd: () => {
        ended += 1;
      },
    });
    await clock.sleep(200);
    const others = members.slice(1);
    await Promise.all(others.map((member) => member.kill()));
    const begin = clock.monoMs();
    const thrown = await store.range({ key: "k" }, { timeoutMs: 4000 }).then(
      () => assert.fail("a member answers without a leader"),
      (error: unknown) => error,
    );
    assert.ok(hasCode(thrown, ErrorCode.UNAVAILABLE), String(thrown));
    assert.equal(isOutcomeUnknown(thrown), false);
    assert.ok(clock.monoMs() - begin < 8000);
    for (let i = 0; i < 1500 && ended === 0; i += 1) await clock.sleep(10);
    assert.equal(ended, 1);
    await Promise.all(others.map((member) => member.run()));
    await mirrored(await write("6"));
  });
}

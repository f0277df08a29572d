/** Brokers with a directory that is over: decommissioned, or given up for maintenance. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { silentLogger } from "@millrace/env";
import { ErrorCode, hasCode } from "@millrace/errors";
import { encodeRecord, type KeyValue, keys } from "@millrace/metadata";
import { StoreProcesses } from "@millrace/metadata/testing";
import { BrokerIntent } from "@millrace/proto/common";
import { BrokerIntentRecordSchema } from "@millrace/proto/storage";
import { onceDecommissioned, refuseDecommissioned } from "./decommissioned.ts";

const directory = (id: number): Uint8Array => Buffer.alloc(16, id);

/** Whether a broker with directory 1 starts, and whether it stops once it runs. */
const lives = async (fields: {
  readonly intent: BrokerIntent;
  readonly directoryId?: Uint8Array;
  readonly retiredDirectoryIds?: Uint8Array[];
}): Promise<readonly [boolean, boolean]> => {
  const cluster = new StoreProcesses();
  const key = keys.brokerIntent(3);
  const record = create(BrokerIntentRecordSchema, { brokerId: 3, ...fields });
  const value = encodeRecord.brokerIntent(record);
  await cluster.run(cluster.store.txn([], [{ type: "put", key, value }]));
  const self = { brokerId: 3, directoryId: directory(1) };
  const starts = await cluster.run(
    refuseDecommissioned(cluster.store, self).then(
      () => true,
      (thrown: unknown) => {
        assert.ok(hasCode(thrown, ErrorCode.INVALID_CONFIG), String(thrown));
        return false;
      },
    ),
  );
  const kv: KeyValue | undefined = await cluster.get(key);
  let runs = true;
  const mirror = { get: () => kv, onChange: () => () => {} };
  onceDecommissioned(mirror, self, silentLogger, () => {
    runs = false;
  });
  return [starts, runs];
};

test("a broker serves no more with a directory that is over, and with another one it does", async () => {
  const { ACTIVE, DECOMMISSIONED, DRAINING } = BrokerIntent;
  for (const [fields, serves] of [
    [{ intent: DRAINING }, true],
    [{ intent: DECOMMISSIONED }, false],
    [{ intent: DECOMMISSIONED, directoryId: directory(1) }, false],
    [{ intent: DECOMMISSIONED, directoryId: directory(2) }, true],
    [{ intent: ACTIVE, retiredDirectoryIds: [directory(2)] }, true],
    [{ intent: ACTIVE, retiredDirectoryIds: [directory(2), directory(1)] }, false],
  ] as const) {
    const copied = "retiredDirectoryIds" in fields ? [...fields.retiredDirectoryIds] : [];
    const answer = await lives({ ...fields, retiredDirectoryIds: copied });
    assert.deepEqual(answer, [serves, serves], JSON.stringify(fields));
  }
});

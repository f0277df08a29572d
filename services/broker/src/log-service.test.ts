import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { topicConfigOf } from "@millrace/config";
import { ErrorCode } from "@millrace/errors";
import type { TimestampOffset } from "@millrace/log";
import {
  DeleteRecordsRequestSchema,
  DescribeLogsRequestSchema,
  ListOffsetsRequestSchema,
  OffsetSpec,
} from "@millrace/proto/broker";
import { LogServiceHandlers } from "./log-service.ts";
import { logConfigOf } from "./partitions/log-config.ts";
import { Replica } from "./partitions/replica.ts";
import { FakeLog } from "./testing/fake-log.ts";
import { partitionOf, topicOf } from "./testing/fake-view.ts";
import { mirrored, replicaContext } from "./testing/replicas.ts";

/** A log whose lookups by time wait for the test. */
class SearchedLog extends FakeLog {
  readonly lookup = Promise.withResolvers<TimestampOffset | undefined>();
  offsetForTimestamp = () => this.lookup.promise;
  maxTimestamp = () => this.lookup.promise;

  override async advanceLogStart(offset: number): Promise<void> {
    this.logStartOffset = offset;
  }
}

/** A leader in epoch 5 whose log ends at 10, of which `stored` counts. */
const setUp = async (stored = 10) => {
  const log = new SearchedLog(10, 0);
  log.ackedEndOffset = stored;
  const config = topicConfigOf({});
  const context = replicaContext();
  const replica = new Replica(context, topicOf("t", []), partitionOf(0, 0, 5), config);
  const making = new Replica(context, topicOf("u", []), partitionOf(0, 0, 5), config);
  replica.opened(log.asLog());
  mirrored(replica, log);
  await replica.followView();
  const replicas = { find: () => replica, replicas: () => [making, replica] };
  const handlers = new LogServiceHandlers(replicas as never, () => 4096);
  const list = async (spec: OffsetSpec) => {
    const request = create(ListOffsetsRequestSchema, { queries: [{ topic: "t", spec }] });
    const [result] = (await handlers.listOffsets(request)).results;
    return result?.error ?? result?.offset;
  };
  const catchUp = (): void => {
    log.ackedEndOffset = 10;
    log.notify();
  };
  return { log, replica, config, handlers, list, catchUp };
};

const notYet = { code: ErrorCode.LEADER_NOT_AVAILABLE, retriable: true, sideEffects: false };

test("a new leader answers latest once it knows how far the log is readable; until then, retry", async () => {
  const { list, catchUp } = await setUp(7);
  assert.partialDeepStrictEqual(await list(OffsetSpec.LATEST), notYet);
  assert.partialDeepStrictEqual(await list(OffsetSpec.UNSPECIFIED), notYet);
  assert.equal(await list(OffsetSpec.EARLIEST), 0n);
  catchUp();
  assert.equal(await list(OffsetSpec.LATEST), 10n);
});

test("that no record is as new as a time asked for is known no earlier than latest", async () => {
  const { log, list, catchUp } = await setUp(7);
  log.lookup.resolve(undefined);
  assert.partialDeepStrictEqual(await list(OffsetSpec.TIMESTAMP), notYet);
  assert.partialDeepStrictEqual(await list(OffsetSpec.MAX_TIMESTAMP), notYet);
  catchUp();
  assert.equal(await list(OffsetSpec.TIMESTAMP), undefined);
  const found = await setUp(7);
  found.log.lookup.resolve({ offset: 3, timestampMs: 1, leaderEpoch: 4 });
  assert.equal(await found.list(OffsetSpec.TIMESTAMP), 3n);
});

test("records up to the latest offset are deleted once that is known", async () => {
  const { log, handlers, catchUp } = await setUp(7);
  const request = create(DeleteRecordsRequestSchema, { partitions: [{ topic: "t" }] });
  const deleted = async () => (await handlers.deleteRecords(request)).results[0];
  assert.partialDeepStrictEqual((await deleted())?.error, notYet);
  assert.equal(log.logStartOffset, 0);
  catchUp();
  assert.equal((await deleted())?.lowWatermark, 10n);
});

test("records of a topic that is compacted and not deleted are kept, as in Kafka", async () => {
  const { log, handlers, catchUp } = await setUp(7);
  catchUp();
  const request = create(DeleteRecordsRequestSchema, { partitions: [{ topic: "t" }] });
  const withPolicy = async (policy: "compact" | "compact,delete") => {
    log.updateConfig(logConfigOf(topicConfigOf({ "cleanup.policy": policy })));
    return (await handlers.deleteRecords(request)).results[0];
  };
  const refused = await withPolicy("compact");
  assert.equal(refused?.error?.code, ErrorCode.POLICY_VIOLATION);
  assert.match(
    refused.error.message,
    /^t-0 keeps the latest record of every key .* compact,delete$/,
  );
  assert.equal((await withPolicy("compact,delete"))?.lowWatermark, 10n);
});

test("an offset that an earlier leader may have told is not refused for good", async () => {
  const { handlers, catchUp } = await setUp(7);
  const partitions = [{ topic: "t", beforeOffset: 9n }];
  const request = create(DeleteRecordsRequestSchema, { partitions });
  const deleted = async () => (await handlers.deleteRecords(request)).results[0];
  assert.partialDeepStrictEqual((await deleted())?.error, notYet);
  catchUp();
  assert.equal((await deleted())?.lowWatermark, 9n);
});

test("a lookup that its leader does not outlast is not answered", async () => {
  const { log, replica, config, list } = await setUp();
  const listed = list(OffsetSpec.TIMESTAMP);
  replica.take(partitionOf(0, 1, 6), config);
  log.lookup.resolve({ offset: 3, timestampMs: 1, leaderEpoch: 4 });
  assert.partialDeepStrictEqual(await listed, { code: ErrorCode.NOT_LEADER });
});

test("a partition whose log is being made is not described", async () => {
  const { handlers } = await setUp();
  const { diskFreeBytes, logs } = await handlers.describeLogs(create(DescribeLogsRequestSchema));
  assert.equal(diskFreeBytes, 4096n);
  assert.deepEqual(
    logs.map(({ topic, highWatermark }) => [topic, highWatermark]),
    [["t", 10n]],
  );
});

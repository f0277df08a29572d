/** What a replica needs of its broker, as a test has it. */
import assert from "node:assert/strict";
import type { Replica, ReplicaContext } from "../partitions/replica.ts";
import { noMeter } from "../topic-meters.ts";
import { type FakeLog, noFloors } from "./fake-log.ts";

/** For brokers that follow nobody, and ask the controller for nothing. */
export const noReplication = {
  brokerEpoch: () => 1,
  followers: { follow() {}, unfollow: () => undefined },
  changes: { add() {}, look() {}, remove() {} },
  lagMaxMs: 10_000,
  meterOf: () => noMeter,
  keyIndexOf: (): never => assert.fail("no topic is compacted"),
};

/** Broker 0 of several that are all registered under epoch 1, and that nothing is asked of. */
export const replicaContext = (with_: Partial<ReplicaContext> = {}): ReplicaContext => ({
  ...noReplication,
  clock: { monoMs: () => 0 },
  sim: undefined,
  brokerId: 0,
  registered: () => 1,
  epochFloors: noFloors,
  hint: () => undefined,
  ...with_,
});

/** Broker 1 has made durable what this one has, as soon as it has. */
export const mirrored = (replica: Replica, log: FakeLog): void => {
  const report = (): void => {
    replica.durable({ brokerId: 1, brokerEpoch: 1 }, log.ackedEndOffset);
    replica.onceProgress(report);
  };
  report();
};

/** Partitions that move between the machines of a simulated cluster, and where they end. */
import assert from "node:assert/strict";
import type { Client, PartitionMove } from "@millrace/client/core";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { PartitionLog } from "@millrace/log";
import { BrokerIntent } from "@millrace/proto/common";
import type { PartitionRecord } from "@millrace/proto/storage";
import { topicIdOf } from "@millrace/record";
import type { Marks, SeededRandom } from "@millrace/sim";
import type { BrokerMachine } from "./broker-machine.ts";
import { partitions } from "./history.ts";

const { ACTIVE, CORDONED, DRAINING } = BrokerIntent;

/** What a cluster refuses while machines come and go. */
const refusals: readonly ErrorCode[] = [
  // While the store is another one.
  ErrorCode.CLUSTER_ID_MISMATCH,
  ErrorCode.INVALID_REPLICA_ASSIGNMENT,
  ErrorCode.NO_REASSIGNMENT_IN_PROGRESS,
  ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
];

/** Some of the brokers, mostly as many as there are replicas at first. */
const anyTarget = (random: SeededRandom, brokers: number): number[] => {
  const left = Array.from({ length: brokers }, (_, id) => id);
  const count = random.chance(0.7) ? 3 : 1 + random.below(brokers);
  return Array.from({ length: Math.min(count, brokers) }, () => {
    const [one = 0] = left.splice(random.below(left.length), 1);
    return one;
  });
};

/** Asks for one move, whatever the cluster makes of it. */
const ask = async (client: Client, move: PartitionMove, marks: Marks): Promise<void> => {
  try {
    const [result] = await client.admin.alterPartitionReassignments({ moves: [move] });
    if (result?.error !== undefined) throw result.error;
    marks.sometimes(move.replicas === "cancel" ? "moves: cancelled" : "moves: recorded");
  } catch (thrown) {
    const { code, codeName, spec } = MillraceError.from(thrown);
    if (!spec.retriable && !refusals.includes(code)) throw thrown;
    marks.sometimes(`moves: ${codeName}`);
  }
};

/** Says what is wanted of a broker. False when nobody could be told. */
const want = async (
  client: Client,
  brokerId: number,
  intent: BrokerIntent,
  marks: Marks,
): Promise<boolean> => {
  try {
    await client.admin.setBrokerIntent({ brokerId, intent });
    marks.sometimes(`moves: ${BrokerIntent[intent].toLowerCase()}`);
    return true;
  } catch (thrown) {
    const { code, spec } = MillraceError.from(thrown);
    const isKnown = code === ErrorCode.BROKER_ID_NOT_REGISTERED || refusals.includes(code);
    if (!spec.retriable && !isKnown) throw thrown;
    return code === ErrorCode.BROKER_ID_NOT_REGISTERED;
  }
};

/**
 * Moves partitions to and fro, cancels that, and drains brokers, until `working` says no. In the
 * end every broker is active.
 */
export const reassign = async (
  client: Client,
  brokers: number,
  { random, marks }: { readonly random: SeededRandom; readonly marks: Marks },
  sleep: (ms: number) => Promise<void>,
  working: () => boolean,
): Promise<void> => {
  while (working()) {
    await sleep(random.float() * (random.chance(0.5) ? 300 : 2500));
    if (random.chance(0.2)) {
      const intent = random.pick([ACTIVE, CORDONED, DRAINING, DRAINING]);
      await want(client, random.below(brokers), intent, marks);
      continue;
    }
    const partition = random.below(partitions);
    await ask(client, { topic: "t", partition, replicas: anyTarget(random, brokers) }, marks);
    if (random.chance(0.5)) continue;
    // It may be over by then, or not.
    await sleep(random.float() * 100);
    const replicas = random.chance(0.7) ? "cancel" : anyTarget(random, brokers);
    await ask(client, { topic: "t", partition, replicas }, marks);
  }
  for (let id = 0; id < brokers; id += 1) {
    while (!(await want(client, id, ACTIVE, marks))) await sleep(100);
  }
};

const bytesOf = async (log: PartitionLog, from: number): Promise<Buffer> => {
  const chunks: Uint8Array[] = [];
  for (let offset = from; offset < log.logEndOffset; ) {
    const found = await log.read(offset, 1e6, "log_end");
    chunks.push(...found.chunks);
    offset = found.nextOffset;
  }
  return Buffer.concat(chunks);
};

/** Every replica of the records has the same bytes, and nobody else has a log, unless it may. */
export const checkReplicas = async (
  machines: readonly BrokerMachine[],
  records: readonly PartitionRecord[],
  mayLeaveLogs: boolean,
): Promise<void> => {
  for (const { topicId, partition, replicas } of records) {
    const logOf = ({ logs }: BrokerMachine): PartitionLog | undefined =>
      logs.get(topicIdOf(topicId), partition);
    const [first, ...others] = machines.filter(({ brokerId }) => replicas.includes(brokerId));
    const log = first && logOf(first);
    assert.ok(log !== undefined, `${first?.host} has no partition ${partition}`);
    for (const machine of others) {
      const { host } = machine;
      const other = logOf(machine);
      assert.ok(other !== undefined, `${host} has no partition ${partition}`);
      const from = Math.max(log.logStartOffset, other.logStartOffset);
      const same: boolean =
        Buffer.compare(await bytesOf(other, from), await bytesOf(log, from)) === 0;
      const ends: string = `${log.logEndOffset} and ${other.logEndOffset}`;
      assert.ok(same, `partition ${partition} differs on ${host}, ends ${ends}`);
    }
    for (const machine of machines) {
      if (mayLeaveLogs || replicas.includes(machine.brokerId)) continue;
      const gone = logOf(machine) === undefined;
      assert.ok(gone, `${machine.host} still has partition ${partition}, which is on ${replicas}`);
    }
  }
};

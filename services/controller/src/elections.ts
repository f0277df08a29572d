/** Elections by command: what becomes of a partition when somebody asks for a leader. Pure. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { ElectionType, type ElectLeaderRequest } from "@millrace/proto/controller";
import type { PartitionRecord } from "@millrace/proto/storage";
import { directoryIdsWith } from "./directories.ts";
import { type Brokers, type MinInsync, nextPartition } from "./leadership.ts";

const refused = (code: ErrorCode, message: string): MillraceError =>
  MillraceError.refusal(code, message);

type Wanted = Pick<ElectLeaderRequest, "type" | "leader">;

const preferred = (
  record: PartitionRecord,
  topic: MinInsync,
  brokers: Brokers,
): PartitionRecord => {
  const [first] = record.replicas;
  if (record.leader === first) {
    throw refused(
      ErrorCode.ELECTION_NOT_NEEDED,
      `broker ${first}, the preferred leader, leads: nothing to do`,
    );
  }
  const next = nextPartition(record, topic, brokers, true);
  if (next !== undefined && next.leader === first) return next;
  throw refused(
    ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE,
    `broker ${first}, the preferred leader, is not in sync, or is about to stop: ` +
      "wait until it is in the ISR",
  );
};

/** The replica that leads without being complete. */
const uncleanLeader = (
  { replicas }: PartitionRecord,
  { brokers }: Brokers,
  wanted: number | undefined,
): number => {
  if (wanted !== undefined && !replicas.includes(wanted)) {
    const text = `broker ${wanted} is no replica of the partition: name one of ${replicas.join()}`;
    throw refused(ErrorCode.INVALID_REQUEST, text);
  }
  const registered = replicas.filter((id) => brokers.has(id));
  const leader = wanted ?? registered[0];
  if (leader !== undefined && registered.includes(leader)) return leader;
  throw refused(
    ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE,
    leader === undefined
      ? `none of the replicas ${replicas.join()} is registered: start one of them`
      : `broker ${leader} is not registered: start it`,
  );
};

const unclean = (
  record: PartitionRecord,
  topic: MinInsync,
  brokers: Brokers,
  wanted: number | undefined,
): PartitionRecord => {
  const clean = nextPartition(record, topic, brokers) ?? record;
  if (clean.leader !== undefined) {
    throw refused(
      ErrorCode.ELECTION_NOT_NEEDED,
      `broker ${clean.leader} is complete, and leads, or is about to: no record has to be lost: wait for it`,
    );
  }
  const leader = uncleanLeader(record, brokers, wanted);
  return {
    ...record,
    leader,
    leaderEpoch: record.leaderEpoch + 1,
    isr: [leader],
    // What the others have beyond the new leader is cut: they are not complete any more.
    elr: [],
    isrBrokerEpochs: [BigInt(brokers.brokers.get(leader) ?? 0)],
    minIsrEpoch: topic.minIsrEpoch,
    uncleanLeaderEpoch: record.leaderEpoch + 1,
    directoryIds: directoryIdsWith(record, [leader], brokers.directories),
  };
};

/**
 * The partition as the election makes it. Throws INVALID_REQUEST, ELECTION_NOT_NEEDED,
 * ELIGIBLE_LEADERS_NOT_AVAILABLE. An unclean one is for a partition that nobody complete can lead:
 * the leader that is named, or the first replica that is registered, leads alone with what it has.
 */
export const electedPartition = (
  record: PartitionRecord,
  topic: MinInsync,
  brokers: Brokers,
  { type, leader }: Wanted,
): PartitionRecord => {
  if (type === ElectionType.UNCLEAN) return unclean(record, topic, brokers, leader);
  if (type !== ElectionType.PREFERRED) {
    throw refused(ErrorCode.INVALID_REQUEST, `an election of type ${type}: send one of the types`);
  }
  if (leader === undefined) return preferred(record, topic, brokers);
  const text = "the preferred leader is the first replica: name none";
  throw refused(ErrorCode.INVALID_REQUEST, text);
};

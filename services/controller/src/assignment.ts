/** Assigns replicas to brokers. Pure. */
import { ErrorCode, MillraceError } from "@millrace/errors";

/** A broker that replicas can be assigned to. */
export interface Candidate {
  readonly brokerId: number;
  /** Empty: unknown. */
  readonly rack: string;
}

/** Orders brokers so that neighbours are in different racks, as far as racks are known. */
const interleaved = (brokers: readonly Candidate[]): readonly Candidate[] => {
  const racks = new Map<string, Candidate[]>();
  for (const broker of brokers.toSorted((a, b) => a.brokerId - b.brokerId)) {
    const list = racks.get(broker.rack) ?? [];
    list.push(broker);
    racks.set(broker.rack, list);
  }
  const queues = [...racks.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, list]) => list);
  const order: Candidate[] = [];
  for (let i = 0; order.length < brokers.length; i += 1) {
    for (const queue of queues) {
      const broker = queue[i];
      if (broker !== undefined) order.push(broker);
    }
  }
  return order;
};

/**
 * Replicas of partitions `first` to `first + count - 1`, the preferred leader first. Leaders rotate
 * over the brokers from `start`; followers are shifted by one more each round, so that the load of
 * a failed leader spreads (as Kafka's AdminUtils does). Throws INVALID_REPLICATION_FACTOR.
 */
export const assignReplicas = (
  brokers: readonly Candidate[],
  replicationFactor: number,
  first: number,
  count: number,
  start: number,
): number[][] => {
  const order = interleaved(brokers);
  const total = order.length;
  if (total === 0) {
    throw new MillraceError(
      ErrorCode.INVALID_REPLICATION_FACTOR,
      "no broker takes new replicas: start one, or uncordon one (millrace broker list)",
    );
  }
  if (replicationFactor < 1 || replicationFactor > total) {
    throw new MillraceError(
      ErrorCode.INVALID_REPLICATION_FACTOR,
      total === 1
        ? `replication factor ${replicationFactor} with 1 broker: use 1`
        : `replication factor ${replicationFactor} with ${total} brokers: use 1 to ${total}`,
    );
  }
  return Array.from({ length: count }, (_, i) => {
    const partition = first + i;
    const leader = (start + partition) % total;
    const round = Math.floor(partition / total);
    const replicas: number[] = [];
    for (let k = 0; k < replicationFactor; k += 1) {
      const shift = k === 0 ? 0 : 1 + ((round + k - 1) % Math.max(1, total - 1));
      const broker = order[(leader + shift) % total];
      if (broker !== undefined) replicas.push(broker.brokerId);
    }
    return replicas;
  });
};

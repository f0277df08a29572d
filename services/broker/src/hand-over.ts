/**
 * Controlled shutdown: a broker says that it is about to stop, the controller has other replicas
 * lead, and the broker serves until they do.
 */
import type { Clock, Logger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import type { ClusterSnapshot, ClusterView, PartitionView } from "./metadata/view.ts";

export interface HandOverOptions {
  readonly clock: Pick<Clock, "timer">;
  readonly logger: Logger;
  readonly view: ClusterView;
  readonly brokerId: number;
  /** Says in the registration that the broker is about to stop. May reject. */
  readonly announce: () => Promise<void>;
  /** Longest time for all of it, ms. */
  readonly timeoutMs: number;
}

/** Whether another replica in sync can lead. */
const hasSuccessor = (
  { isr, isrBrokerEpochs }: PartitionView,
  { brokers }: ClusterSnapshot,
  brokerId: number,
): boolean =>
  isr.some((id, i) => {
    const broker = brokers.get(id);
    return id !== brokerId && broker?.epoch === isrBrokerEpochs[i] && !broker?.isShuttingDown;
  });

/** Partitions that the broker leads, and that another one could lead. */
function* ledFor(snapshot: ClusterSnapshot, brokerId: number): Iterable<PartitionView> {
  for (const { partitions } of snapshot.topics.values()) {
    for (const one of partitions) {
      if (one.leader === brokerId && hasSuccessor(one, snapshot, brokerId)) yield one;
    }
  }
}

/** Asked with every change: it ends at the first one. */
const leadsForOthers = (snapshot: ClusterSnapshot, brokerId: number): boolean => {
  for (const _ of ledFor(snapshot, brokerId)) return true;
  return false;
};

const leadsFor = (snapshot: ClusterSnapshot, brokerId: number): number =>
  [...ledFor(snapshot, brokerId)].length;

/**
 * Resolves once the broker leads nothing that another replica in sync could lead, or after
 * `timeoutMs`: what is left then loses its leader as by a crash. Never rejects. Without a
 * controller or a metadata store the broker stops anyway.
 */
export const handOver = async (options: HandOverOptions): Promise<void> => {
  const { clock, logger, view, brokerId, announce, timeoutMs } = options;
  const led = leadsFor(view.current, brokerId);
  if (led === 0) return;
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  const look = (): void => {
    if (!leadsForOthers(view.current, brokerId)) end();
  };
  const stopListening = view.onChange(look);
  const cancel = clock.timer(timeoutMs, end);
  announce().catch((thrown: unknown) => {
    const err = MillraceError.from(thrown);
    logger.warn({ err }, "leaderships cannot be handed over: stopping with them");
    end();
  });
  await over;
  cancel();
  stopListening();
  const left = leadsFor(view.current, brokerId);
  const counts = { handed_over: led - left, left };
  if (left === 0) logger.info(counts, "leaderships are handed over");
  else
    logger.warn(counts, "leaderships are left: other replicas are elected once this one is gone");
};

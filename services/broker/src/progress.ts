/** Waiting for a partition to move. */
import type { Clock } from "@millrace/env";
import type { CallContext } from "@millrace/rpc";
import type { Replica } from "./partitions/replica.ts";

/**
 * Resolves at the next progress of the replica, after `ms`, or when nobody waits for the answer any
 * more.
 */
export const progressOrTimeout = (
  clock: Pick<Clock, "timer">,
  replica: Pick<Replica, "onceProgress">,
  ms: number,
  call: CallContext,
): Promise<void> =>
  new Promise((resolve) => {
    const settle = (): void => {
      cancel();
      stop();
      call.signal.removeEventListener("abort", settle);
      call.draining.removeEventListener("abort", settle);
      resolve();
    };
    const cancel = clock.timer(ms, settle);
    const stop = replica.onceProgress(settle);
    call.signal.addEventListener("abort", settle);
    call.draining.addEventListener("abort", settle);
  });

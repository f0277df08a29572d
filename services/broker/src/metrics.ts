/**
 * What the broker counts. `standalone` connects it to the registry; the simulator passes no-ops.
 */
import type { MillraceError } from "@millrace/errors";

/** All synchronous, called on the hot path: implementations only add numbers. */
export interface BrokerMetrics {
  /** A produce request was answered. */
  onProduce(durationMs: number, error: MillraceError | undefined): void;
  /** A batch was accepted by the log. */
  onAppend(records: number, bytes: number): void;
  /** A fetch message with batches was sent. */
  onFetch(bytes: number): void;
  /** A request or cursor failed. */
  onError(error: MillraceError): void;
}

/** Counts nothing. */
export const noMetrics: BrokerMetrics = {
  onProduce() {},
  onAppend() {},
  onFetch() {},
  onError() {},
};

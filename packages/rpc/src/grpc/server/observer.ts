/** What the carrier reports about its calls, for metrics. */
import { MillraceError } from "@millrace/errors";

/** Called synchronously; must not throw. */
export interface CallObserver {
  onCallStart?(path: string): void;
  /** `code` is an ErrorCode name, or "OK". */
  onCallEnd?(call: {
    readonly path: string;
    readonly code: string;
    readonly durationMs: number;
    readonly bytesIn: number;
    readonly bytesOut: number;
  }): void;
}

export const noObserver: CallObserver = {};

/** Starts observing a call; returns how to end it. */
export const observed = (
  observer: CallObserver,
  path: string,
): ((failure: unknown, bytesIn: number, bytesOut: number) => void) => {
  const startedMs = performance.now();
  observer.onCallStart?.(path);
  return (failure, bytesIn, bytesOut) => {
    observer.onCallEnd?.({
      path,
      code: failure === undefined ? "OK" : MillraceError.from(failure).codeName,
      durationMs: performance.now() - startedMs,
      bytesIn,
      bytesOut,
    });
  };
};

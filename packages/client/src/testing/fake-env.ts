/** What is around a client in the tests of this package. */
import type { Clock } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { nodeCompressor } from "@millrace/record/node";
import type { ClientEnv } from "../core/client.ts";

/** A clock on which `factor` milliseconds pass in one. */
export const fastClock = (factor: number): Clock => {
  const clock = nodeClock();
  return {
    ...clock,
    monoMs: () => clock.monoMs() * factor,
    timer: (ms, fn) => clock.timer(ms / factor, fn),
    sleep: (ms, signal) => clock.sleep(ms / factor, signal),
  };
};

/** The real environment, without logs. */
export const testEnv = (clock: Clock = nodeClock()): ClientEnv => ({
  clock,
  random: nodeRandom(),
  compressor: nodeCompressor,
  logger: { debug() {}, info() {}, warn() {}, error() {}, child: () => testEnv().logger },
});

/** Never answers: rejects at the deadline or when aborted, as a carrier does. */
export const silence = (
  signal: AbortSignal | undefined,
  timeoutMs = 30_000,
  factor = 1,
): Promise<never> =>
  new Promise((_, reject) => {
    const late = () => reject(new MillraceError(ErrorCode.DEADLINE_EXCEEDED, "no answer in time"));
    const timer = setTimeout(late, timeoutMs / factor);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new MillraceError(ErrorCode.CANCELLED, "cancelled"));
    });
  });

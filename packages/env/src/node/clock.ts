/** Time and randomness of the operating system. */
import { randomBytes, randomInt } from "node:crypto";
import type { Cancel, Clock, Random } from "../env.ts";

/** Longest delay that one Node timer takes, milliseconds; longer ones are chained. */
const timerMsMax = 2 ** 31 - 1;

const startTimer = (ms: number, fn: () => void): Cancel => {
  let handle: NodeJS.Timeout;
  const arm = (leftMs: number): void => {
    handle =
      leftMs > timerMsMax
        ? setTimeout(() => arm(leftMs - timerMsMax), timerMsMax)
        : setTimeout(fn, leftMs);
  };
  arm(ms);
  return () => clearTimeout(handle);
};

const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = startTimer(ms, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });

/** The process's clock. */
export const nodeClock = (): Clock => ({
  monoMs: () => performance.now(),
  wallMs: () => Date.now(),
  timer: startTimer,
  sleep,
  defer: (fn) => void setImmediate(fn),
});

/** Randomness from the operating system. */
export const nodeRandom = (): Random => ({
  float: () => randomInt(2 ** 47) / 2 ** 47,
  below: (bound) => (bound <= 1 ? 0 : randomInt(Math.min(bound, 2 ** 47))),
  bytes: (length) => randomBytes(length),
});

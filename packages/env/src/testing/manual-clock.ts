/** A clock that a test moves. */
import type { Clock } from "../env.ts";

interface Timer {
  readonly atMs: number;
  readonly run: () => void;
}

export const manualClock = () => {
  let nowMs = 0;
  const timers = new Set<Timer>();
  const deferred: (() => void)[] = [];
  /** Ends the turn of the event loop: promises and deferred work run until none is left. */
  const turn = async (): Promise<void> => {
    for (let i = 0; i < 20; i += 1) {
      await Promise.resolve();
      for (const run of deferred.splice(0)) run();
    }
  };
  const clock: Clock = {
    monoMs: () => nowMs,
    wallMs: () => nowMs,
    timer: (ms, run) => {
      const timer = { atMs: nowMs + ms, run };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    sleep: () => Promise.reject(new Error("nothing sleeps here")),
    defer: (run) => deferred.push(run),
  };
  /** What a promise becomes, which has to settle within this turn: no test waits for ever. */
  const soon = <T>(promise: Promise<T>): Promise<T> => {
    const late = turn().then(() => Promise.reject(new Error("not settled within the turn")));
    return Promise.race([promise, late]);
  };
  const next = (): Timer | undefined => [...timers].sort((a, b) => a.atMs - b.atMs)[0];
  /** Runs what is due within `ms`, in its order. */
  const advance = async (ms: number): Promise<void> => {
    await turn();
    const endMs = nowMs + ms;
    for (let timer = next(); timer !== undefined && timer.atMs <= endMs; timer = next()) {
      timers.delete(timer);
      nowMs = timer.atMs;
      timer.run();
      await turn();
    }
    nowMs = endMs;
    await turn();
  };
  /** Delays of the timers that are set, ms. */
  const pending = (): number[] => [...timers].map(({ atMs }) => atMs - nowMs).sort((a, b) => a - b);
  return { clock, turn, soon, advance, pending };
};

/** Chance without chance: what is spread around a mean is the mean. */
export const meanRandom = {
  float: () => 0.5,
  below: () => 0,
  bytes: (length: number) => new Uint8Array(length),
};

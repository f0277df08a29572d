/** For tests of what happens in time. */
import type { Clock } from "@millrace/env";

/** A clock that the test moves. Deferred work runs before a `turn` ends. */
export const manualClock = () => {
  let nowMs = 0;
  const timers = new Set<{ readonly atMs: number; readonly run: () => void }>();
  const deferred: (() => void)[] = [];
  const turn = async (): Promise<void> => {
    for (let i = 0; i < 10; i += 1) {
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
  const advance = async (ms: number): Promise<void> => {
    nowMs += ms;
    for (const timer of [...timers].sort((a, b) => a.atMs - b.atMs)) {
      if (timer.atMs > nowMs || !timers.delete(timer)) continue;
      timer.run();
    }
    await turn();
  };
  return { clock, turn, advance };
};

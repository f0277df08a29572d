/** Crashing at every I/O step of random workloads. */
import type { LogManager } from "@millrace/log";
import type { CrashModel } from "../disk.ts";
import { SeededRandom } from "../random.ts";
import { CrashRun } from "./harness.ts";

export interface CrashCounts {
  stepsCrashed: number;
  recoveries: number;
  crashesInRecovery: number;
  damageInjected: number;
  partitionsOffline: number;
}

export const noCounts = (): CrashCounts => ({
  stepsCrashed: 0,
  recoveries: 0,
  crashesInRecovery: 0,
  damageInjected: 0,
  partitionsOffline: 0,
});

const operations = 60;

/** Runs until the work is done, or the process dies at step `crashAt`. */
const workUntil = async (run: CrashRun, crashAt: number, model: CrashModel): Promise<void> => {
  let over = false;
  let failure: unknown;
  run.disk.onStep = (step) => {
    if (step !== crashAt) return;
    run.crash(model);
    over = true;
  };
  const work = async (): Promise<void> => {
    const manager = await run.start();
    await run.work(manager, operations);
    await manager.close(true);
  };
  work().then(
    () => {
      over = true;
    },
    (thrown: unknown) => {
      failure = thrown;
      over = true;
    },
  );
  await run.kernel.runUntil(() => over);
  run.disk.onStep = () => {};
  if (failure !== undefined) throw failure;
};

/** Opens the directory; the process may die on the way, at most `crashes` times. */
const recoverThrough = async (
  run: CrashRun,
  random: SeededRandom,
  crashes: number,
  model: CrashModel,
  counts: CrashCounts,
): Promise<LogManager> => {
  for (let left = crashes; left > 0; left -= 1) {
    const crashAt = run.disk.steps + 1 + random.below(60);
    const opened = await openUntil(run, crashAt, model);
    if (opened !== undefined) {
      // It came up first: recovery must find the same once more.
      await run.kernel.run(run.verify(opened, true));
      run.crash(model);
    }
    counts.crashesInRecovery += 1;
  }
  return run.kernel.run(run.start());
};

const openUntil = async (
  run: CrashRun,
  crashAt: number,
  model: CrashModel,
): Promise<LogManager | undefined> => {
  let over = false;
  let failure: unknown;
  let manager: LogManager | undefined;
  run.disk.onStep = (step) => {
    if (step !== crashAt || manager !== undefined) return;
    run.crash(model);
    over = true;
  };
  run.start().then(
    (opened) => {
      manager = opened;
      over = true;
    },
    (thrown: unknown) => {
      failure = thrown;
      over = true;
    },
  );
  await run.kernel.runUntil(() => over);
  run.disk.onStep = () => {};
  if (failure !== undefined) throw failure;
  return manager;
};

/** I/O steps of the workload of a seed when nothing goes wrong. */
export const countSteps = async (seed: number): Promise<number> => {
  const run = new CrashRun(seed);
  await workUntil(run, -1, "process");
  await run.kernel.run(run.verifyFiles());
  return run.disk.steps;
};

/** One crash at one step, with everything that must hold afterwards. Throws a Violation. */
export const crashOnce = async (
  seed: number,
  crashAt: number,
  counts: CrashCounts,
): Promise<void> => {
  const random = new SeededRandom(seed * 100_003 + crashAt);
  const model: CrashModel = random.chance(0.8) ? "power" : "process";
  const run = new CrashRun(seed);
  await workUntil(run, crashAt, model);
  if (run.alive) run.crash(model);
  counts.stepsCrashed += 1;
  const crashes = random.chance(0.3) ? random.between(1, 2) : 0;
  const manager = await recoverThrough(run, random, crashes, model, counts);
  await run.kernel.run(run.verify(manager, model === "power"));
  await run.kernel.run(run.work(manager, 12));
  await run.kernel.run(manager.close(true));
  await run.kernel.run(run.verifyFiles());
  const again = await run.kernel.run(run.start());
  if (!again.recovery.clean || again.recovery.segmentBytesScanned > 0) {
    throw new Error("a clean restart scanned the log");
  }
  await run.kernel.run(run.verify(again, false));
  run.crash("process");
  counts.recoveries += run.recoveries;
};

/** Journal rounds on the disk that a later one follows: [path, position, bytes]. */
const middleRounds = (run: CrashRun): [string, number, number][] => {
  const rounds: { path: string; at: number; bytes: number; round: number }[] = [];
  for (const path of run.disk.paths()) {
    if (!path.endsWith(".journal")) continue;
    const content = run.disk.content(path) ?? Buffer.alloc(0);
    for (let at = 0; at + 4096 <= content.length; at += 4096) {
      if (content.toString("latin1", at, at + 4) !== "MJR1") continue;
      const round = Number(content.readBigUInt64LE(at + 24));
      rounds.push({ path, at, bytes: content.readUInt32LE(at + 4), round });
    }
  }
  const last = Math.max(...rounds.map(({ round }) => round));
  // The last may be torn, so the one before it is the last that was surely durable… and must be followed.
  return rounds
    .filter(({ round }) => round < last - 1)
    .map(({ path, at, bytes }) => [path, at, bytes]);
};

/** Places whose damage must never lose anything silently. */
const damageTargets = (run: CrashRun, random: SeededRandom): [string, number] | undefined => {
  if (random.chance(0.6)) {
    const rounds = middleRounds(run);
    if (rounds.length === 0) return undefined;
    const [path, at, bytes] = random.pick(rounds);
    return [path, at + random.below(Math.min(bytes, 600))];
  }
  const files = run.disk.paths().filter((path) => {
    const size = run.disk.content(path)?.length ?? 0;
    return size > 0 && /leader-epochs|recovery-points|index$|producers|\.log$/.test(path);
  });
  if (files.length === 0) return undefined;
  const path = random.pick(files);
  return [path, random.below(run.disk.content(path)?.length ?? 1)];
};

/** A crash, then bits that rot before the next start. What was acknowledged is served, or the partition is
 * offline. */
export const crashAndRot = async (
  seed: number,
  crashAt: number,
  counts: CrashCounts,
): Promise<void> => {
  const random = new SeededRandom(seed * 7_919 + crashAt);
  const run = new CrashRun(seed);
  await workUntil(run, crashAt, "power");
  if (run.alive) run.crash("power");
  const target = damageTargets(run, random);
  if (target === undefined) return;
  run.disk.flipBit(target[0], target[1], random.below(8));
  counts.damageInjected += 1;
  const isLog = target[0].endsWith(".log");
  const manager = await run.kernel.run(run.start());
  counts.recoveries += run.recoveries;
  // A flipped bit in a log may lie in the tail that was never durable, and then in nothing but that.
  counts.partitionsOffline += await run.kernel.run(run.verify(manager, true, true));
  if (isLog) counts.damageInjected += 0;
  run.crash("process");
};

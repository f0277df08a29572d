/** Crashing at every I/O step of a random workload, and at random steps of what follows. */
import { ErrorCode, hasCode } from "@millrace/errors";
import type { LogManager } from "@millrace/log";
import type { CrashModel } from "../disk.ts";
import { SeededRandom } from "../random.ts";
import { verifyEvidence } from "./evidence.ts";
import type { Counts } from "./faults.ts";
import { allKinds, type Switches } from "./kinds.ts";
import type { Life } from "./life.ts";
import { doubtLostProducers } from "./lost-producers.ts";
import type { PartitionModel } from "./model.ts";
import { verifyRetention } from "./retention-check.ts";
import { retentionAllows } from "./retention-model.ts";
import { CrashRun, type Slot } from "./run.ts";
import { rot, rotMarker } from "./trouble.ts";
import { verifyPartition } from "./verify.ts";
import { Violation } from "./violation.ts";
import { begin, work } from "./workload.ts";

export interface Plan {
  readonly seed: number;
  readonly on: Switches;
  readonly counts: Counts;
  /** Operations of the first life. */
  readonly operations: number;
  /** The steps of the first life that are crashed at. */
  readonly crashesAt: (step: number) => boolean;
  /** Told what happens, for people. */
  readonly trace?: (line: string) => void;
}

/** Where a promise was broken. Step 0: in the first life, before any crash. */
export class Finding extends Error {
  override readonly name = "Finding";

  constructor({ seed, on, operations }: Plan, step: number, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const off = allKinds.filter((kind) => !on[kind]);
    const without = off.length === 0 ? "" : ` --without ${off.join()}`;
    const again = `--seed ${seed} --step ${step} --operations ${operations}${without} --trace`;
    super(
      `seed ${seed}, step ${step}: ${reason}\n  again: node packages/sim/src/crash/main.ts ${again}`,
      { cause },
    );
  }
}

/**
 * Runs one seed: a first life, forked and crashed at its I/O steps; each fork is recovered,
 * checked, and lived on. Throws a Finding at the first broken promise.
 */
export const explore = async (plan: Plan): Promise<void> => {
  const { seed, on, counts } = plan;
  const run = new CrashRun(seed, on, counts);
  if (plan.trace !== undefined) run.trace = plan.trace;
  const forks: [number, CrashRun][] = [];
  run.disk.onStep = (step) => {
    if (plan.crashesAt(step)) forks.push([step, run.fork(seed * 100_003 + step)]);
  };
  let over = false;
  const first = firstLife(run, plan.operations)
    .catch((thrown: unknown) => run.fail(thrown))
    .finally(() => {
      over = true;
    });
  try {
    const endMs = run.kernel.nowMs + 3_600_000;
    while (!over && run.violation === undefined) {
      if (run.kernel.nowMs > endMs) throw new Violation("the first life never ends");
      await run.kernel.runOne();
      for (const [step, fork] of forks.splice(0)) await examine(fork, plan, step);
    }
    if (run.violation !== undefined) throw run.violation;
    await first;
  } catch (thrown) {
    throw thrown instanceof Finding ? thrown : new Finding(plan, 0, thrown);
  } finally {
    run.crash("process");
  }
};

const firstLife = async (run: CrashRun, operations: number): Promise<void> => {
  const manager = await run.start();
  const life = begin(run, manager);
  await work(life, operations);
  await endLife(run, life);
};

/** A clean stop, where the directory still takes writes. */
const endLife = async (run: CrashRun, life: Life): Promise<boolean> => {
  const deleting = run.slots.some(({ model }) => model?.deleting === true);
  const allowed = run.on.closeUnderLoad && (run.on.deletionWhileClosing || !deleting);
  const underLoad = life.random.chance(0.2) && allowed;
  if (!underLoad) await life.settle();
  life.closing = true;
  if (run.on.closeWhenFull && life.random.chance(0.1)) {
    run.disk.quotaBytes = run.disk.usedBytes;
    life.wasFull = true;
  }
  const closing = life.manager.close(true).catch((thrown: unknown) => {
    if (!run.faults.injected && !life.wasFull) throw thrown;
  });
  await life.within(60_000, "a clean stop", closing);
  await life.settle();
  // What came while it stopped is safe, but the next start has to look.
  if (underLoad || life.stopped || run.faults.injected || life.wasFull) return false;
  for (const { log, model } of run.slots) {
    if (model === undefined || log?.state.kind !== "online") continue;
    model.durableEnd = Math.max(model.durableEnd, model.ackedEnd);
    model.highWatermarkDurable = model.highWatermark;
  }
  return true;
};

/** Everything that must hold after a crash at one step. */
const examine = async (run: CrashRun, plan: Plan, step: number): Promise<void> => {
  const random = new SeededRandom(plan.seed * 100_003 + step);
  const rejected = (thrown: unknown): void => run.fail(thrown);
  process.on("unhandledRejection", rejected);
  try {
    run.crash(random.chance(0.7) ? "power" : "process");
    run.counts.add("I/O steps crashed");
    const lives = random.pick([0, 1, 1, 2]);
    for (let life = 0; life < lives; life += 1) await anotherLife(run, random);
    await lastLife(run, random);
  } catch (thrown) {
    throw new Finding(plan, step, thrown);
  } finally {
    process.off("unhandledRejection", rejected);
    run.crash("process");
  }
};

/** A life that ends in a crash. */
const anotherLife = async (run: CrashRun, random: SeededRandom): Promise<void> => {
  const manager = await recover(run, random);
  const life = begin(run, manager);
  const crashAt = run.disk.steps + 1 + random.below(250);
  const crash: CrashModel = random.chance(0.7) ? "power" : "process";
  let dead = false;
  run.disk.onStep = (step) => {
    if (step !== crashAt) return;
    run.crash(crash);
    dead = true;
  };
  let over = false;
  work(life, random.between(5, 40))
    .then(() => life.settle())
    .catch((thrown: unknown) => run.fail(thrown))
    .finally(() => {
      over = true;
    });
  await run.kernel.runUntil(() => over || dead || run.violation !== undefined, 600_000);
  run.disk.onStep = () => {};
  if (run.violation !== undefined) throw run.violation;
  if (!dead) run.crash(crash);
};

/** A life that ends with a clean stop, after which nothing is scanned and everything is there. */
const lastLife = async (run: CrashRun, random: SeededRandom): Promise<void> => {
  const manager = await recover(run, random);
  const life = begin(run, manager);
  await run.finish(work(life, random.between(0, 12)));
  if (run.on.retention && random.chance(0.3)) await run.finish(verifyRetention(life));
  const clean = await run.finish(endLife(run, life));
  const damaged = run.slots.some(({ model }) => model?.suspect !== undefined);
  if (clean && !damaged) await run.finish(run.verifyFiles());
  run.crash(clean && random.chance(0.5) ? "power" : "process");
  const looks = clean && run.on.rotAtRest && random.chance(0.1) && rotMarker(run, random);
  const again = await run.finish(run.start());
  if (
    clean &&
    !damaged &&
    !looks &&
    (!again.recovery.clean || again.recovery.segmentBytesScanned > 0)
  ) {
    throw new Violation("a start after a clean stop scanned the log");
  }
  await run.finish(verify(run, again, random));
};

/** Opens the directory, through crashes and faults on the way, and checks everything. */
const recover = async (run: CrashRun, random: SeededRandom): Promise<LogManager> => {
  if (run.on.rotAtRest && random.chance(0.1)) rot(run, random, false);
  for (let crashes = random.chance(0.3) ? random.between(1, 2) : 0; crashes > 0; crashes -= 1) {
    await crashInRecovery(run, random);
  }
  const manager = await run.finish(run.start());
  await run.finish(verify(run, manager, random));
  return manager;
};

const crashInRecovery = async (run: CrashRun, random: SeededRandom): Promise<void> => {
  const crashAt = run.disk.steps + 1 + random.below(80);
  const crash: CrashModel = random.chance(0.6) ? "power" : "process";
  let over = false;
  let manager: LogManager | undefined;
  run.disk.onStep = (step) => {
    if (step !== crashAt || manager !== undefined) return;
    run.crash(crash);
    over = true;
  };
  run.start().then(
    (opened) => {
      manager = opened;
      over = true;
    },
    (thrown: unknown) => {
      if (!excusesStart(run, thrown)) run.fail(thrown);
      over = true;
    },
  );
  if (run.on.startFault && random.chance(0.2)) {
    const kind = random.pick([
      "readFault",
      "openFault",
      "transientFault",
      "writeFault",
      "syncFault",
    ] as const);
    if (run.on[kind]) run.faults.arm(kind, random);
  }
  await run.kernel.runUntil(() => over || run.violation !== undefined, 600_000);
  run.disk.onStep = () => {};
  if (run.violation !== undefined) throw run.violation;
  // A partition that cannot be recovered goes offline alone, and stays so: its journal entries are
  // gone.
  for (const { directory, model } of run.slots) {
    if (model === undefined || !run.faults.troubled.has(directory)) continue;
    model.suspect ??= "a fault while the directory was opened";
  }
  run.counts.add("crashes in recovery");
  if (!run.alive) return;
  run.faults.heal();
  if (manager !== undefined && !run.faults.sharedFailed) {
    await run.finish(verify(run, manager, random));
  }
  run.crash(crash);
};

/** A start may fail, honestly, for a fault in what all partitions share. */
const excusesStart = (run: CrashRun, thrown: unknown): boolean => {
  const { injected, sharedFailed } = run.faults;
  const local = injected && !sharedFailed && run.on.startFaultStaysLocal;
  return injected && !local && hasCode(thrown, ErrorCode.STORAGE_ERROR);
};

/** Every partition that must be there is, and holds what it promised. */
const verify = async (run: CrashRun, manager: LogManager, random: SeededRandom): Promise<void> => {
  for (const slot of run.slots) await verifySlot(run, slot, manager, random);
};

const verifySlot = async (
  run: CrashRun,
  slot: Slot,
  manager: LogManager,
  random: SeededRandom,
): Promise<void> => {
  const log = manager.get(slot.topicId, slot.partition);
  const { model } = slot;
  slot.log = log;
  // What was not made may have found the directory of the life before it.
  const before = model?.created === false && slot.lifeUnknown && log?.state.kind === "offline";
  if (model === undefined || before) {
    slot.model = undefined;
    if (log === undefined) return;
    // A directory of which nobody knows the life is kept, offline, and can be deleted again.
    const unknown = slot.lifeUnknown || run.faults.faulty.has(slot.directory);
    if (!unknown || log.state.kind === "online") {
      throw new Violation(`${slot.directory} was deleted, and is back`);
    }
    run.counts.add("deleted partitions of an unknown life");
    await manager.delete(slot.topicId, slot.partition);
    slot.log = undefined;
    return;
  }
  if (log === undefined) {
    if (model.created && !model.deleting) throw new Violation(`${model.name} is gone`);
    slot.model = undefined;
    return;
  }
  if (model.deleting) {
    // Whatever is left of it, whoever asked for the deletion asks again.
    await manager.delete(slot.topicId, slot.partition);
    slot.model = undefined;
    slot.log = undefined;
    return;
  }
  run.suspectFaulty();
  doubtLostProducers(run.disk, slot.directory, model, run.faults.unreadSnapshots);
  const retained = (world: PartitionModel, start: number): boolean =>
    retentionAllows(world, slot.configs, start, run.walls);
  if (log.state.kind === "offline") {
    if (model.suspect === undefined) {
      throw new Violation(`${model.name} is offline: ${log.state.reason}`);
    }
    if (!model.offline) run.counts.add("partitions offline");
    model.offline = true;
    const mayBeGone = (offset: number): boolean => retained(model, offset);
    if (run.on.evidence) verifyEvidence(run.disk, slot.directory, model, mayBeGone);
    return;
  }
  try {
    slot.model = await verifyPartition({
      log,
      model,
      random,
      retentionAllows: retained,
    });
    slot.configs = [slot.config];
    if (model.truncation?.isReset) {
      const isDone = slot.model.cuts > model.cuts;
      run.counts.add(`resets under way at a crash: ${isDone ? "done" : "not begun"}`);
    }
  } catch (thrown) {
    if (model.suspect === undefined || !hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) throw thrown;
    model.offline = true;
    run.counts.add("partitions offline");
  }
};

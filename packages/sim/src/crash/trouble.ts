/** Trouble from outside: the disk, its space, the wall clock, and bits that rot. */
import type { SimDisk } from "../disk.ts";
import type { SeededRandom } from "../random.ts";
import { partitionOf } from "./faults.ts";
import type { Kind } from "./kinds.ts";
import type { Life } from "./life.ts";
import { doubtLostProducers, snapshotOffsetOf } from "./lost-producers.ts";
import type { CrashRun } from "./run.ts";

const dayMs = 86_400_000;
const faultKinds: readonly Kind[] = [
  "writeFault",
  "syncFault",
  "syncFull",
  "readFault",
  "openFault",
  "nameFault",
  "transientFault",
];

const troubles: readonly Kind[] = [
  ...faultKinds,
  "wallJump",
  "wallGlitch",
  "diskFull",
  "rotWhileRunning",
];

/** The kinds of trouble that one life may meet: few of them, and often none. */
export const troublesOf = (run: CrashRun, random: SeededRandom): readonly Kind[] => {
  const possible = troubles.filter((kind) => run.on[kind]);
  if (possible.length === 0 || random.chance(0.3)) return [];
  return Array.from({ length: random.between(1, 3) }, () => random.pick(possible));
};

/** Causes trouble of a kind. */
export const causeTrouble = (life: Life, kind: Kind): void => {
  const { random, run } = life;
  run.trace(`${run.kernel.nowMs.toFixed(1)} trouble: ${kind}`);
  if (kind === "wallJump" || kind === "wallGlitch") run.clockWasWrong = true;
  if (kind === "wallJump") jump(run, random);
  else if (kind === "wallGlitch") {
    run.kernel.glitchWallClock(random.pick([-8, 8, 365]) * dayMs);
    run.counts.add("trouble: wall clock wrong for one read");
  } else if (kind === "diskFull") fill(life);
  else if (kind === "rotWhileRunning") rot(run, random, true);
  else run.faults.arm(kind, random);
};

const jump = (run: CrashRun, random: SeededRandom): void => {
  const { kernel } = run;
  kernel.wallOffsetMs = random.pick([0, 0, 8, -8, 365, -1]) * dayMs;
  run.wallOffsetsMs.add(kernel.wallOffsetMs);
  run.counts.add("trouble: wall clock jumps");
  // A check may now find every producer idle for too long.
  const nowMs = 1_700_000_000_000 + kernel.nowMs + kernel.wallOffsetMs;
  for (const { model, config } of run.slots) {
    model?.producers.doubtIdle(nowMs - config.producerExpiryMs);
  }
};

/** No room for a while. */
const fill = (life: Life): void => {
  const { run, random } = life;
  life.wasFull = true;
  run.disk.quotaBytes = run.disk.usedBytes + random.pick([0, 300, 5000]);
  run.counts.add("trouble: disk full");
  life.later(
    life
      .sleep(random.pick(run.on.readsWhenFull ? [5, 300, 900, 30_000] : [5, 300, 900]))
      .then(() => {
        run.disk.quotaBytes = Number.POSITIVE_INFINITY;
      }),
  );
};

/** A durable byte. `batches`: how many of them its damage may cost at most. */
interface Target {
  readonly path: string;
  readonly position: number;
  readonly batches: number;
  /** Where the journal round begins that it is in. */
  readonly round?: string;
}

/** The recovery points, or their copy. */
const pointsFile = /^recovery-points(\.copy)?$/;

const placeOf = (path: string, at: number): string => `${path}@${at}`;

/**
 * Journal rounds that two later ones follow: what rots in the last ones cannot be told from a torn
 * write. `rotten`: places of rounds that say anything, also of their number.
 */
export const oldRounds = (
  disk: Pick<SimDisk, "content" | "paths">,
  rotten: ReadonlySet<string>,
) => {
  const rounds: { path: string; at: number; bytes: number; round: number; entries: number }[] = [];
  for (const path of disk.paths()) {
    if (!path.endsWith(".journal")) continue;
    const content = disk.content(path) ?? Buffer.alloc(0);
    for (let at = 0; at + 4096 <= content.length; at += 4096) {
      if (content.toString("latin1", at, at + 4) !== "MJR1") continue;
      if (rotten.has(placeOf(path, at))) continue;
      const round = Number(content.readBigUInt64LE(at + 24));
      const [bytes, entries] = [content.readUInt32LE(at + 4), content.readUInt32LE(at + 40)];
      rounds.push({ path, at, bytes, round, entries });
    }
  }
  const last = Math.max(...rounds.map(({ round }) => round));
  return rounds.filter(({ round }) => round < last - 2);
};

/** A durable byte whose damage must never lose anything silently, or undefined. */
const targetOf = (run: CrashRun, random: SeededRandom): Target | undefined => {
  if (random.chance(0.3)) {
    const rounds = oldRounds(run.disk, run.rottenRounds);
    if (rounds.length === 0) return undefined;
    const { path, at, bytes, entries } = random.pick(rounds);
    const within = random.below(Math.min(bytes, 600));
    // Without its head nothing of a round can be read.
    const batches = within < 52 + 40 * entries ? entries : 1;
    return { path, position: at + within, batches, round: placeOf(path, at) };
  }
  const wanted = random.pick([
    /\.log$/,
    /\.log$/,
    /index$/,
    /leader-epochs$/,
    /(producers\.\d+|cleaner-checkpoint)$/,
    pointsFile,
    pointsFile,
    /-\d{5}\/meta$/,
    /^journal-files$/,
    /\/offline$/,
  ]);
  const paths = run.disk
    .paths()
    .filter((path) => wanted.test(path) && run.disk.durableBytes(path) > 0)
    // The other one must be right: without both nobody knows what is missing.
    .filter((path) => !pointsFile.test(path) || (run.rottenPoints ?? path) === path);
  if (paths.length === 0) return undefined;
  const path = random.pick(paths);
  return { path, position: random.below(run.disk.durableBytes(path)), batches: 1 };
};

/** Flips a bit of the marker of a clean stop: the next start has to look at everything. */
export const rotMarker = (run: CrashRun, random: SeededRandom): boolean => {
  const path = "clean";
  const position = random.below(Math.max(1, run.disk.durableBytes(path)));
  if (!run.disk.flipBit(path, position, random.below(8))) return false;
  run.counts.add("trouble: rot in clean");
  return true;
};

/**
 * Flips a durable bit. The partitions that it may concern may go offline, and nothing else may
 * happen.
 */
export const rot = (run: CrashRun, random: SeededRandom, running: boolean): void => {
  const target = targetOf(run, random);
  if (target === undefined) return;
  const { path, position, batches } = target;
  const cacheStaysGood = running && random.chance(0.5);
  if (!run.disk.flipBit(path, position, random.below(8), cacheStaysGood)) return;
  if (target.round !== undefined) run.rottenRounds.add(target.round);
  if (pointsFile.test(path)) run.rottenPoints = path;
  run.trace(`rot: ${path} at ${position}`);
  const name = path.replace(/^.*\//, "").replace(/[0-9]+/, "N");
  run.counts.add(`trouble: rot in ${name}${running ? " while running" : ""}`);
  const owner = partitionOf(path);
  const shared = path.startsWith("journal/");
  for (const slot of run.slots) {
    if (slot.directory === owner && path.endsWith("/meta")) slot.lifeUnknown = true;
    if (shared && slot.model === undefined) slot.lifeUnknown = true;
    if (slot.model === undefined || (slot.directory !== owner && !shared)) continue;
    slot.model.suspect = `${path} rotted at ${position}`;
    slot.model.batchesRotted += batches;
    // In what neither an fsync nor the journal vouches for it cannot be told from a write that was
    // torn.
    if (path.endsWith(".log")) slot.model.cacheBetrayed = true;
    if (path.endsWith(".log") || shared) {
      // What retention deletes next, with all behind it, may be all that knew its producers. A file
      // that no fsync covers yet is gone with the power, and leaves what the journal has of it.
      slot.model.producers.doubtWindows(slot.model.endOffset);
      slot.model.epochs.batchesRotted = true;
    }
    if (path.endsWith("leader-epochs")) slot.model.epochs.damaged = true;
    const snapshot = snapshotOffsetOf(path);
    if (snapshot === undefined) continue;
    slot.model.rottenSnapshots.add(snapshot);
    doubtLostProducers(run.disk, slot.directory, slot.model);
  }
};

/**
 * Damaged data directories, one after another. An input is its seed and number, so it can be made
 * again.
 */
import { SeededRandom } from "@millrace/sim";
import { cpuMs } from "../cpu-time.ts";
import type { Finding } from "../run.ts";
import { Broken, DirectoryCheck } from "./check.ts";
import { type Damaged, damage } from "./damage.ts";
import { type Directory, directoryOf, stops } from "./workload.ts";

export const directoriesName = "data directories";

/** Longer than this is a hang, ms of CPU. */
const inputMsMax = 2_000;
/** Growth of this process beyond which something is kept, or a length in a file was believed. */
const growthBytesMax = 512 * 1024 * 1024;
/** Directories that one campaign damages, a few of each way to stop. */
const directoriesPerStop = 4;

export interface DirectoryCounts {
  inputs: number;
  opened: number;
  slowestMs: number;
}

export interface DirectoryOptions {
  readonly seed: number;
  readonly goOn: (inputs: number) => boolean;
  /** Only this input. */
  readonly input?: number | undefined;
  /** Ends after so many findings. */
  readonly findingsMax?: number;
}

const family = async (seed: number): Promise<Directory[]> => {
  const directories: Directory[] = [];
  for (let i = 0; i < directoriesPerStop; i += 1) {
    for (const stop of stops) directories.push(await directoryOf(seed + i, stop));
  }
  return directories;
};

/** Values at an offset, of all partitions of all directories. */
const everything = (directories: readonly Directory[]): Map<number, Set<string>> => {
  const all = new Map<number, Set<string>>();
  for (const { truths } of directories) {
    for (const { written } of truths.values()) {
      for (const [offset, values] of written)
        all.set(offset, new Set([...(all.get(offset) ?? []), ...values]));
    }
  }
  return all;
};

/** What the process itself would die of. */
class Rejections {
  readonly #seen: unknown[] = [];
  readonly #listener = (reason: unknown): void => void this.#seen.push(reason);

  constructor() {
    process.on("unhandledRejection", this.#listener);
  }

  take(): unknown {
    return this.#seen.shift();
  }

  stop(): void {
    process.off("unhandledRejection", this.#listener);
  }
}

const checkOne = async (
  check: DirectoryCheck,
  rejections: Rejections,
  rssBytes: number,
): Promise<boolean> => {
  const startedMs = cpuMs();
  const opened = await check.run();
  await new Promise((resolve) => setImmediate(resolve));
  const rejection = rejections.take();
  if (rejection !== undefined) throw new Broken(`nobody handled ${String(rejection)}`);
  const ms = cpuMs() - startedMs;
  if (ms > inputMsMax) throw new Broken(`took ${ms.toFixed(0)} ms`);
  const grownBytes = process.memoryUsage.rss() - rssBytes;
  if (grownBytes > growthBytesMax) throw new Broken(`the process grew by ${grownBytes} bytes`);
  return opened;
};

const findingOf = (seed: number, number: number, damaged: Damaged, thrown: unknown): Finding => ({
  target: directoriesName,
  input: `--seed ${seed} --target directories --input ${number}\n${damaged.what.join("\n")}`,
  error: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown),
});

/** Counts as a line of text. */
export const directorySummary = ({ inputs, opened, slowestMs }: DirectoryCounts): string =>
  `${directoriesName}: ${inputs} inputs, ${opened} opened, slowest ${slowestMs.toFixed(1)} ms`;

/** Damages and opens directories until told to stop. Same seed, same inputs. */
export const fuzzDirectories = async (
  options: DirectoryOptions,
): Promise<{ counts: DirectoryCounts; findings: readonly Finding[] }> => {
  const { seed, goOn, input, findingsMax = 1 } = options;
  const directories = await family(seed);
  const anywhere = everything(directories);
  const counts: DirectoryCounts = { inputs: 0, opened: 0, slowestMs: 0 };
  const findings: Finding[] = [];
  const rejections = new Rejections();
  const rssBytes = process.memoryUsage.rss();
  for (let number = input ?? 0; goOn(counts.inputs) && findings.length < findingsMax; number += 1) {
    const dice = new SeededRandom((seed * 7_919 + number) | 0);
    const directory = dice.pick(directories);
    const sameLives = directories.filter((one) => one.seed === directory.seed);
    const others = { any: dice.pick(directories).image, sameLife: dice.pick(sameLives).image };
    const damaged = damage(directory.image, others, dice);
    const startedMs = cpuMs();
    try {
      const check = new DirectoryCheck({ directory, damaged, anywhere }, dice.bits());
      if (await checkOne(check, rejections, rssBytes)) counts.opened += 1;
    } catch (thrown) {
      findings.push(findingOf(seed, number, damaged, thrown));
    }
    counts.inputs += 1;
    counts.slowestMs = Math.max(counts.slowestMs, cpuMs() - startedMs);
    if (input !== undefined) break;
  }
  rejections.stop();
  return { counts, findings };
};

/** The loop: seeded inputs into targets until a bound, with what was found. */
import { SeededRandom } from "@millrace/sim";
import { corpus } from "./corpus.ts";
import { cpuMs } from "./cpu-time.ts";
import { mutate } from "./mutate.ts";
import { isRefusal, type Target } from "./targets.ts";

export interface Finding {
  readonly target: string;
  /** Bytes in hex, or how to make the input again. */
  readonly input: string;
  readonly error: string;
}

export interface Count {
  inputs: number;
  accepted: number;
  slowestMs: number;
}

/** Longer than this is a hang, ms of CPU. */
const inputMsMax = 2_000;

export interface FuzzOptions {
  readonly seed: number;
  /** Asked before each slice of inputs. */
  readonly goOn: (inputs: number) => boolean;
  readonly only?: string;
}

const one = async (target: Target, bytes: Buffer, count: Count): Promise<Finding | undefined> => {
  const startedMs = cpuMs();
  let error: unknown;
  try {
    const running = target.run(bytes);
    if (running instanceof Promise) await running;
    count.accepted += 1;
  } catch (thrown) {
    if (!isRefusal(thrown)) error = thrown;
  }
  const ms = cpuMs() - startedMs;
  count.inputs += 1;
  count.slowestMs = Math.max(count.slowestMs, ms);
  if (error === undefined && ms > inputMsMax) error = new Error(`took ${ms.toFixed(0)} ms`);
  if (error === undefined) return undefined;
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { target: target.name, input: bytes.toString("hex"), error: text };
};

/** Replays the corpus, then fuzzes. Same seed, same inputs. Stops a target at its first finding. */
export const fuzz = async (
  targets: readonly Target[],
  options: FuzzOptions,
): Promise<{ counts: ReadonlyMap<string, Count>; findings: readonly Finding[] }> => {
  const dice = new SeededRandom(options.seed);
  const chosen = new Set(targets.filter(({ name }) => name.includes(options.only ?? "")));
  const counts = new Map<string, Count>();
  const findings: Finding[] = [];
  const feed = async (target: Target, bytes: Buffer): Promise<void> => {
    const count = counts.get(target.name) ?? { inputs: 0, accepted: 0, slowestMs: 0 };
    counts.set(target.name, count);
    const finding = await one(target, bytes, count);
    if (finding === undefined) return;
    findings.push(finding);
    chosen.delete(target);
  };
  for (const target of chosen) {
    for (const bytes of [...target.seeds, ...(corpus[target.name] ?? [])])
      await feed(target, Buffer.from(bytes));
  }
  let inputs = 0;
  while (options.goOn(inputs) && chosen.size > 0) {
    for (const target of chosen) {
      for (let i = Math.ceil(target.weight * 100); i > 0 && chosen.has(target); i -= 1) {
        const seed = target.seeds[dice.below(target.seeds.length)] ?? Buffer.alloc(0);
        const other = target.seeds[dice.below(target.seeds.length)] ?? Buffer.alloc(0);
        await feed(target, mutate(seed, other, dice));
        inputs += 1;
      }
    }
  }
  return { counts, findings };
};

/** Counts as lines of text. */
export const summary = (counts: ReadonlyMap<string, Count>): string => {
  const total = { inputs: 0, accepted: 0 };
  const lines: string[] = [];
  let rest = 0;
  for (const [name, count] of counts) {
    total.inputs += count.inputs;
    total.accepted += count.accepted;
    if (name.startsWith("millrace.")) rest += count.inputs;
    else
      lines.push(
        `${name}: ${count.inputs} inputs, ${count.accepted} accepted, slowest ${count.slowestMs.toFixed(1)} ms`,
      );
  }
  lines.push(
    `generated messages: ${rest} inputs`,
    `all: ${total.inputs} inputs, ${total.accepted} accepted`,
  );
  return lines.join("\n");
};

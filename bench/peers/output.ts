/** What the peers' tools print, as numbers. */
import type { Sample } from "../lib/report.ts";

const unexpected = (tool: string, output: string): Error =>
  new Error(`${tool} said ${output.slice(-500)}`);

/** The last line of `kafka-producer-perf-test`: that without the warm-up. */
export const parseProducer = (output: string): Sample => {
  const line = output.split("\n").findLast((text) => text.includes("99.9th")) ?? "";
  const found =
    /([\d.]+) records\/sec.* (\d+) ms 50th, \d+ ms 95th, (\d+) ms 99th, (\d+) ms 99.9th/.exec(line);
  if (found === null) throw unexpected("kafka producer", output);
  const [recordsPerSecond = 0, ackp50Ms = 0, ackp99Ms = 0, ackp999Ms = 0] = found
    .slice(1)
    .map(Number);
  return { recordsPerSecond, ackp50Ms, ackp99Ms, ackp999Ms };
};

/** What Kafka's cleaner says of a partition, once it has cleaned it. */
export const parseCleaner = (
  log: string,
  partition: string,
): { readonly cleanedMiB: number; readonly cleanSeconds: number } | undefined => {
  const said = log.split(`cleaned log ${partition} `)[1];
  const found = /([\d,.]+) MB of log processed in ([\d,.]+) seconds/.exec(said ?? "");
  if (found === null) return undefined;
  return { cleanedMiB: withoutCommas(found[1]), cleanSeconds: withoutCommas(found[2]) };
};

/** Kafka's end-to-end tool. Its percentiles are whole milliseconds, cut; its mean is not. */
export const parseEndToEnd = (output: string): Sample => {
  const found = /50th = (\d+), 99th = (\d+), 99.9th = (\d+)/.exec(output);
  if (found === null) throw unexpected("kafka end-to-end", output);
  const [p50Ms = 0, p99Ms = 0, p999Ms = 0] = found.slice(1).map(Number);
  return { meanMs: Number(/Avg latency: ([\d.]+) ms/.exec(output)?.[1]), p50Ms, p99Ms, p999Ms };
};

const units: Readonly<Record<string, number>> = { ns: 1e-6, µs: 1e-3, us: 1e-3, ms: 1, s: 1000 };

const withoutCommas = (text: string | undefined): number => Number(text?.replaceAll(",", ""));

/** `nats bench`. With several clients their sum counts. Percentiles are NaN where it tells none. */
export const parseNats = (output: string): Sample => {
  const lines = output.split("\n").filter((line) => line.includes("stats:"));
  const line = lines.find((text) => /aggregated|overall/i.test(text)) ?? lines.at(-1) ?? "";
  const rate = /([\d,.]+) msgs\/sec/.exec(line);
  if (rate === null) throw unexpected("nats bench", output);
  const at = (name: string): number => {
    const found = new RegExp(`${name}: ([\\d.,]+)(ns|µs|us|ms|s)\\b`, "i").exec(output);
    return found === null ? Number.NaN : withoutCommas(found[1]) * (units[found[2] ?? "ms"] ?? 1);
  };
  return {
    recordsPerSecond: withoutCommas(rate[1]),
    ...{ p50Ms: at("P50"), p99Ms: at("P99"), p999Ms: at("P99.9") },
  };
};

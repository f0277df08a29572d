/** Which topics and offsets `consume` reads. */
import type { Client, Position } from "@millrace/client";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { UsageError } from "./io.ts";

/** What a partition gives: from `start` on, up to `end`, which is not read. */
export interface Range {
  readonly topic: string;
  readonly partition: number;
  readonly start: bigint;
  readonly end: bigint;
}

export const isPattern = (name: string): boolean => /[*?]/.test(name);

/** The regular expression of a pattern in which `*` stands for any characters and `?` for one. */
export const sourceOf = (pattern: string): string =>
  pattern.replaceAll(/[.+^${}()|[\]\\*?]/g, (found) =>
    found === "*" ? ".*" : found === "?" ? "." : `\\${found}`,
  );

const matcherOf = (pattern: string): RegExp => new RegExp(`^${sourceOf(pattern)}$`, "s");

/** The topics that names and patterns mean, each once. Throws UNKNOWN_TOPIC_OR_PARTITION. */
export const topicsOf = async (client: Client, names: readonly string[]): Promise<string[]> => {
  const patterns = names.filter(isPattern);
  const known: string[] = [];
  if (patterns.length > 0) {
    for await (const { name } of client.admin.listTopics()) known.push(name);
  }
  const chosen = new Set<string>();
  for (const name of names) {
    if (!isPattern(name)) {
      chosen.add(name);
      continue;
    }
    const matcher = matcherOf(name);
    const found = known.filter((one) => matcher.test(one));
    if (found.length === 0) {
      throw new MillraceError(
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        `no topic matches ${name}: see millrace topic list`,
      );
    }
    for (const one of found) chosen.add(one);
  }
  return [...chosen];
};

/** Asks for both ends of a partition at once. */
const endsOf = async (client: Client, topic: string, partition: number) => {
  const [first, last] = await Promise.all(
    (["earliest", "latest"] as const).map((at) =>
      client.admin.listOffset({ topic, partition, at }),
    ),
  );
  return { first: first?.offset ?? 0n, last: last?.offset ?? 0n };
};

const clamp = (offset: bigint, { first, last }: { first: bigint; last: bigint }): bigint => {
  if (offset < first) return first;
  return offset > last ? last : offset;
};

/** The offset of a position in the log as it is now, between its ends. */
const resolve = async (
  client: Client,
  { topic, partition }: { readonly topic: string; readonly partition: number },
  position: Position,
  ends: { readonly first: bigint; readonly last: bigint },
): Promise<bigint> => {
  if (position === "earliest") return ends.first;
  if (position === "latest") return ends.last;
  if ("offset" in position) return clamp(BigInt(position.offset), ends);
  if ("tail" in position) return clamp(ends.last - BigInt(position.tail), ends);
  const found = await client.admin.listOffset({ topic, partition, at: position });
  return found === undefined ? ends.last : clamp(found.offset, ends);
};

/** Partitions asked about at once. */
const parallel = 32;

/**
 * The ranges between two positions in the logs as they are now, without those that are empty.
 * `partitions`: those of each topic; undefined for all.
 */
export const rangesOf = async (
  client: Client,
  topics: readonly string[],
  partitions: readonly number[] | undefined,
  from: Position,
  to: Position,
): Promise<Range[]> => {
  const places: { topic: string; partition: number }[] = [];
  for (const topic of topics) {
    const count = await client.partitionCount(topic);
    const all = partitions ?? Array.from({ length: count }, (_, i) => i);
    for (const partition of all) {
      if (partition >= count) {
        throw new MillraceError(
          ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
          `topic ${topic} has no partition ${partition}: it has ${count}`,
        );
      }
      places.push({ topic, partition });
    }
  }
  const ranges: Range[] = [];
  for (let at = 0; at < places.length; at += parallel) {
    const found = await Promise.all(
      places.slice(at, at + parallel).map(async (place) => {
        const ends = await endsOf(client, place.topic, place.partition);
        const start = await resolve(client, place, from, ends);
        const end = await resolve(client, place, to, ends);
        return { ...place, start, end };
      }),
    );
    ranges.push(...found.filter(({ start, end }) => start < end));
  }
  return ranges;
};

/** Refuses an end that cannot be known yet, or that comes before everything. Throws UsageError. */
export const checkEnd = (to: Position, nowMs: number): void => {
  if (to === "earliest") throw new UsageError("--to earliest: nothing comes before it");
  if (typeof to === "object" && "timestampMs" in to && to.timestampMs > nowMs) {
    throw new UsageError("--to is in the future: leave it out to wait for new records");
  }
};

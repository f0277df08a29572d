/** `millrace consume --group`: reading as a member of a group. */
import type { Client, GroupConsumer, TopicPartition } from "@millrace/client";
import { ErrorCode, hasCode } from "@millrace/errors";
import { isPattern, sourceOf } from "./consume-range.ts";
import type { Formatter } from "./format.ts";
import { type Io, UsageError } from "./io.ts";
import { Outage } from "./outage.ts";
import type { Terminal } from "./terminal.ts";

export interface GroupPlan {
  readonly group: string;
  readonly names: readonly string[];
  readonly from: "earliest" | "latest";
  readonly format: Formatter;
  readonly max: number;
  readonly isolation: "read_committed" | "read_uncommitted";
  readonly isQuiet: boolean;
}

type Flags = Readonly<Record<string, unknown>>;

/** Flags that say what the group decides. */
const foreign = { partition: "--partition", to: "--to", untilEnd: "--until-end" } as const;

/** Throws UsageError for flags that do not go with a group. */
export const checkGroupFlags = (flags: Flags): void => {
  for (const [name, flag] of Object.entries(foreign)) {
    if (flags[name] === undefined) continue;
    throw new UsageError(`${flag} does not go with --group, which shares partitions: leave it out`);
  }
};

/** Where a group begins that has committed nothing. Throws UsageError. */
export const groupStart = (text: string): "earliest" | "latest" => {
  if (text === "earliest" || text === "latest") return text;
  throw new UsageError(
    `--from ${text}: with --group use earliest or latest; millrace group reset moves a group`,
  );
};

/** `0-2,5` of rising numbers. */
const rangesText = (numbers: readonly number[]): string => {
  const ranges: [number, number][] = [];
  for (const number of numbers) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === number - 1) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(",");
};

/** `orders 0-2,5; users 1`, or `none`. */
export const partitionsText = (partitions: readonly TopicPartition[]): string => {
  const byTopic = new Map<string, number[]>();
  for (const { topic, partition } of partitions) {
    byTopic.set(topic, [...(byTopic.get(topic) ?? []), partition]);
  }
  const texts = [...byTopic]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([topic, some]) => `${topic} ${rangesText(some.sort((a, b) => a - b))}`);
  return texts.join("; ") || "none";
};

/** How soon somebody is told that a group has no partition for them, milliseconds. */
const idleMs = 2_000;

/** Says which partitions the command reads: when it has joined, and whenever they change. */
class Membership {
  readonly #say: (text: string) => void;
  readonly #group: string;
  readonly #partitions = new Map<string, TopicPartition>();
  #said: string | undefined;
  /** The command ends: what it gives back is no news. */
  isOver = false;

  constructor(group: string, say: (text: string) => void) {
    this.#group = group;
    this.#say = say;
  }

  readonly added = (partitions: readonly TopicPartition[]): void => {
    for (const one of partitions) this.#partitions.set(`${one.topic}-${one.partition}`, one);
    this.tell();
  };

  readonly removed = (partitions: readonly TopicPartition[]): void => {
    for (const { topic, partition } of partitions) this.#partitions.delete(`${topic}-${partition}`);
    this.tell();
  };

  readonly lost = (partitions: readonly TopicPartition[]): void => {
    this.#say(`expelled from group ${this.#group}: joining again`);
    this.removed(partitions);
  };

  tell(): void {
    const text = partitionsText([...this.#partitions.values()]);
    if (text === this.#said || this.isOver) return;
    const what = this.#said === undefined ? "joined group" : "group";
    this.#said = text;
    this.#say(`${what} ${this.#group}: partitions ${text}`);
  }
}

/** A topic that does not exist is read once it does: a name that is wrong should not go unseen. */
const warnOfMissing = async (
  client: Client,
  names: readonly string[],
  terminal: Terminal,
): Promise<void> => {
  for (const name of names) {
    try {
      await client.partitionCount(name);
    } catch (thrown) {
      if (!hasCode(thrown, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)) return;
      await terminal.line(`topic ${name} does not exist: it is read once it does`);
    }
  }
};

const printAll = async (
  consumer: GroupConsumer,
  { format, max }: GroupPlan,
  io: Io,
  terminal: Terminal,
): Promise<void> => {
  let left = max;
  if (left === 0) return;
  for await (const { records, topic, partition } of consumer.batches({ signal: io.signal })) {
    const taken = records.length > left ? records.slice(0, left) : records;
    left -= taken.length;
    await terminal.result(Buffer.concat(taken.map(format)));
    const last = taken.at(-1);
    if (left > 0 || last === undefined) continue;
    // The loop does not come back to move past it.
    await consumer.commit({ topic, partition, offset: last.offset + 1n });
    return;
  }
};

/** Reads until it is interrupted, or has printed `max` records. What was printed is committed. */
export const consumeGroup = async (
  client: Client,
  plan: GroupPlan,
  io: Io,
  terminal: Terminal,
): Promise<void> => {
  const { from, group, isolation, isQuiet, names } = plan;
  const outage = new Outage(io, terminal, isQuiet);
  terminal.status(() => outage.status());
  const topics = names.filter((name) => !isPattern(name));
  const patterns = names.filter(isPattern).map(sourceOf);
  const membership = new Membership(group, (text) => {
    if (!isQuiet) void terminal.line(text);
  });
  const consumer = client.consumer({
    ...{ group, topics, from, isolation, onState: outage.onGroupState },
    ...(patterns.length === 0 ? {} : { topicPattern: patterns.join("|") }),
    onAssigned: membership.added,
    onRevoked: membership.removed,
    onLost: membership.lost,
  });
  const idle = setInterval(() => {
    if (consumer.memberId !== "") membership.tell();
  }, idleMs).unref();
  if (!isQuiet) void warnOfMissing(client, topics, terminal).catch(() => {});
  try {
    await printAll(consumer, plan, io, terminal);
  } catch (thrown) {
    if (!io.signal.aborted) throw thrown;
  } finally {
    clearInterval(idle);
    membership.isOver = true;
    await consumer.close();
  }
};

/** `millrace consume`. */
import type { Client, ConsumedBatch, ConsumedRecord, Consumer, Position } from "@millrace/client";
import { type Command, Option } from "commander";
import { checkGroupFlags, consumeGroup, type GroupPlan, groupStart } from "./consume-group.ts";
import { checkEnd, rangesOf, topicsOf } from "./consume-range.ts";
import { type Formatter, formatHelp, formatterOf } from "./format.ts";
import { collect, counted, type Io, wholeNumber } from "./io.ts";
import { Outage } from "./outage.ts";
import { parsePosition, positionForms } from "./position.ts";
import { Progress } from "./progress.ts";
import { type ClusterFlags, clusterCommand, withClient } from "./shared.ts";
import { Terminal } from "./terminal.ts";

type Flags = ClusterFlags & Readonly<Record<string, unknown>>;

/** The flags, checked before a server is asked. */
interface Plan {
  readonly names: readonly string[];
  readonly from: Position;
  /** Undefined: waits for new records, or stops at the end with `untilEnd`. */
  readonly to: Position | undefined;
  readonly untilEnd: boolean;
  readonly format: Formatter;
  readonly max: number;
  /** Undefined: all partitions, also those added later. */
  readonly partitions: readonly number[] | undefined;
  readonly isolation: "read_committed" | "read_uncommitted";
  readonly isQuiet: boolean;
}

const planOf = (names: readonly string[], flags: Flags): Plan => {
  const nowMs = Date.now();
  const to =
    flags["to"] === undefined ? undefined : parsePosition("--to", String(flags["to"]), nowMs);
  if (to !== undefined) checkEnd(to, nowMs);
  const untilEnd = flags["untilEnd"] === true || to !== undefined;
  const from = String(flags["from"] ?? (untilEnd ? "earliest" : "latest"));
  const chosen = flags["partition"] as string[] | undefined;
  const partitions = chosen?.map((text) => wholeNumber("--partition", text, 0, 0xffff_ffff));
  return {
    names,
    from: parsePosition("--from", from, nowMs),
    to,
    untilEnd,
    format: formatterOf(String(flags["format"])),
    max:
      flags["max"] === undefined
        ? Number.POSITIVE_INFINITY
        : wholeNumber("--max", String(flags["max"]), 0, Number.MAX_SAFE_INTEGER),
    partitions: partitions && [...new Set(partitions)],
    isolation: String(flags["isolation"]) as Plan["isolation"],
    isQuiet: flags["quiet"] === true,
  };
};

/** The same flags for a member of a group. */
const groupPlanOf = (names: readonly string[], flags: Flags): GroupPlan => {
  checkGroupFlags(flags);
  const from = groupStart(String(flags["from"] ?? "latest"));
  const { format, isQuiet, isolation, max } = planOf(names, flags);
  return { group: String(flags["group"]), names, from, format, isQuiet, isolation, max };
};

const keyOf = ({ topic, partition }: { topic: string; partition: number }): string =>
  `${topic}-${partition}`;

/** Where reading ends, by partition. */
type Ends = Map<string, bigint>;

/** What one run reads. */
interface Reading {
  readonly consumer: Consumer;
  /** Undefined where nothing but the consumer says when the end is reached. */
  readonly ends: Ends | undefined;
  /** Offsets from the first to the last record; undefined without an end. */
  readonly total: number | undefined;
}

/** Partitions whose ends are asked for only to say how far reading has come. */
const countedPartitionsMax = 256;

const isFew = async (client: Client, topics: readonly string[]): Promise<boolean> => {
  let count = 0;
  for (const topic of topics) count += await client.partitionCount(topic);
  return count <= countedPartitionsMax;
};

const begin = async (
  client: Client,
  plan: Plan,
  counts: boolean,
  onState: Outage["onState"],
): Promise<Reading> => {
  const { from, isolation, partitions, to, untilEnd } = plan;
  const topics = await topicsOf(client, plan.names);
  const consumer = client.consumer({ untilEnd, isolation, onState });
  const wanted = to !== undefined || (untilEnd && counts && (await isFew(client, topics)));
  const known = wanted
    ? await rangesOf(client, topics, partitions, from, to ?? "latest")
    : undefined;
  const total = known?.reduce((sum, { start, end }) => sum + Number(end - start), 0);
  if (known !== undefined && to !== undefined) {
    const ends: Ends = new Map(known.map((range) => [keyOf(range), range.end]));
    await consumer.assign(
      known.map(({ topic, partition, start }) => ({ topic, partition, from: { offset: start } })),
    );
    return { consumer, ends, total };
  }
  await consumer.assign(
    topics.flatMap(
      (topic) => partitions?.map((partition) => ({ topic, partition, from })) ?? [{ topic, from }],
    ),
  );
  return { consumer, ends: undefined, total };
};

/** The records of a batch before its partition's end. */
const upTo = (batch: ConsumedBatch, end: bigint | undefined): readonly ConsumedRecord[] => {
  const last = batch.records.at(-1);
  if (end === undefined || last === undefined || last.offset < end) return batch.records;
  return batch.records.filter(({ offset }) => offset < end);
};

const bytesOf = ({ key, value }: ConsumedRecord): number =>
  (key?.length ?? 0) + (value?.length ?? 0);

/** Says once that every partition is read to its end, and how many records that were. */
class EndNotice {
  readonly #behind = new Set<string>();
  readonly #say: () => Promise<void>;
  #said = false;

  constructor(say: () => Promise<void>) {
    this.#say = say;
  }

  async begin(consumer: Consumer): Promise<void> {
    const ends = new Map((await consumer.endOffsets()).map((one) => [keyOf(one), one.offset]));
    for (const one of consumer.positions()) {
      if (one.offset < (ends.get(keyOf(one)) ?? 0n)) this.#behind.add(keyOf(one));
    }
    this.#said = this.#behind.size === 0;
  }

  async took(batch: ConsumedBatch): Promise<void> {
    if (this.#said || batch.nextOffset < batch.highWatermark) return;
    this.#behind.delete(keyOf(batch));
    if (this.#behind.size > 0) return;
    this.#said = true;
    await this.#say();
  }
}

const read = async (
  { consumer, ends }: Reading,
  plan: Plan,
  io: Io,
  terminal: Terminal,
  took: (batch: ConsumedBatch, taken: readonly ConsumedRecord[]) => Promise<void>,
): Promise<void> => {
  let left = plan.max;
  if (left === 0 || ends?.size === 0) return;
  for await (const batch of consumer.batches({ signal: io.signal })) {
    const end = ends?.get(keyOf(batch));
    const wanted = ends !== undefined && end === undefined ? [] : upTo(batch, end);
    const taken = wanted.length > left ? wanted.slice(0, left) : wanted;
    left -= taken.length;
    await terminal.result(Buffer.concat(taken.map(plan.format)));
    await took(batch, taken);
    if (left === 0) return;
    if (end === undefined || batch.nextOffset < end) continue;
    ends?.delete(keyOf(batch));
    if (ends?.size === 0) return;
    // Nothing more of it is read.
    await consumer.seek({ topic: batch.topic, partition: batch.partition, to: "latest" });
  }
};

const consume = async (client: Client, plan: Plan, io: Io, terminal: Terminal): Promise<void> => {
  // On a screen the records themselves are the progress.
  const counts = io.progress && !io.screen && !plan.isQuiet;
  const outage = new Outage(io, terminal, plan.isQuiet);
  terminal.status(() => outage.status());
  const reading = await begin(client, plan, counts, outage.onState);
  const total = Math.min(plan.max, reading.total ?? Number.POSITIVE_INFINITY);
  const progress = new Progress(
    () => performance.now(),
    Number.isFinite(total) ? total : undefined,
  );
  const waits = !plan.untilEnd && plan.max > 0 && !plan.isQuiet;
  const notice = new EndNotice(async () => {
    const read = counted(progress.records, "record");
    await terminal.line(`the end is reached after ${read}: waiting for new records`);
  });
  if (counts) terminal.status(() => outage.status() || progress.text());
  const fromEnd = plan.from === "latest";
  if (waits && fromEnd) await terminal.line("waiting for new records; --from earliest reads all");
  else if (waits) await notice.begin(reading.consumer);
  const positions = new Map<string, bigint>();
  await read(reading, plan, io, terminal, async (batch, taken) => {
    const before = positions.get(keyOf(batch)) ?? taken[0]?.offset ?? batch.nextOffset;
    positions.set(keyOf(batch), batch.nextOffset);
    let bytes = 0;
    if (counts) for (const record of taken) bytes += bytesOf(record);
    const done =
      plan.max < Number.POSITIVE_INFINITY ? taken.length : Number(batch.nextOffset - before);
    progress.took(taken.length, bytes, done);
    if (waits && !fromEnd) await notice.took(batch);
  });
  if (counts) {
    terminal.close();
    await terminal.line(progress.text());
  }
};

export const consumeCommand = (io: Io): Command =>
  clusterCommand(
    "consume",
    "Read records and print them",
    "millrace consume logs --from earliest --until-end --format '%p %o %v\\n'",
  )
    .argument("<TOPIC...>", "names, or patterns with * and ?")
    .option(
      "-o, --from <POSITION>",
      `${positionForms}; default latest, or earliest with --to and --until-end`,
    )
    .option("--to <POSITION>", "stop before it; as --from, in the log as it is now")
    .option("-p, --partition <P>", "only this partition; may be repeated", collect)
    .option(
      "-g, --group <GROUP>",
      "share the topics with the other members of the group, and commit what is printed",
    )
    .option("-n, --max <N>", "stop after N records")
    .option("-e, --until-end", "stop at the end of the log as of now")
    .addOption(
      new Option("--isolation <LEVEL>", "which records of transactions to read")
        .choices(["read_committed", "read_uncommitted"])
        .default("read_uncommitted"),
    )
    .option("-f, --format <FORMAT>", "value, json, or a template such as '%o %v\\n'", "value")
    .option("-q, --quiet", "say nothing of waiting and progress")
    .addHelpText("after", "  millrace consume --group billing orders 'orders.*'")
    .addHelpText("after", () => `\n${formatHelp()}`)
    .action(async (names: string[], flags: Flags) => {
      const grouped = flags["group"] === undefined ? undefined : groupPlanOf(names, flags);
      const plan = planOf(names, flags);
      const terminal = new Terminal(io);
      try {
        if (grouped === undefined) {
          await withClient(io, flags, (client) => consume(client, plan, io, terminal));
        } else {
          const use = (client: Client) => consumeGroup(client, grouped, io, terminal);
          await withClient(io, flags, use, "finishes");
        }
      } finally {
        terminal.close();
      }
    });

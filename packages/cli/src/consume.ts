/** `millrace consume`. */
import type { Client, Position } from "@millrace/client";
import { type Command, Option } from "commander";
import { type Formatter, formatterOf } from "./format.ts";
import { collect, type Io, printResult, wholeNumber } from "./io.ts";
import { parsePosition } from "./position.ts";
import { type ClusterFlags, clusterCommand, withClient } from "./shared.ts";

type Flags = ClusterFlags & Readonly<Record<string, unknown>>;

/** The flags, checked before a server is asked. */
interface Plan {
  readonly from: Position;
  readonly format: Formatter;
  readonly max: number;
  /** Undefined: all partitions, also those added later. */
  readonly partitions: readonly number[] | undefined;
}

const planOf = (flags: Flags): Plan => {
  const untilEnd = flags["untilEnd"] === true;
  const chosen = flags["partition"] as string[] | undefined;
  const partitions = chosen?.map((text) => wholeNumber("--partition", text, 0, 0xffff_ffff));
  return {
    from: parsePosition(String(flags["from"] ?? (untilEnd ? "earliest" : "latest"))),
    format: formatterOf(String(flags["format"])),
    max:
      flags["max"] === undefined
        ? Number.POSITIVE_INFINITY
        : wholeNumber("--max", String(flags["max"]), 0, Number.MAX_SAFE_INTEGER),
    partitions: partitions && [...new Set(partitions)],
  };
};

const consume = async (
  client: Client,
  topic: string,
  plan: Plan,
  flags: Flags,
  io: Io,
): Promise<void> => {
  const { format, from, max, partitions } = plan;
  const untilEnd = flags["untilEnd"] === true;
  const isolation = String(flags["isolation"]) as "read_committed" | "read_uncommitted";
  const consumer = client.consumer({ untilEnd, isolation });
  await consumer.assign(
    partitions?.map((partition) => ({ topic, partition, from })) ?? [{ topic, from }],
  );
  let left = max;
  if (left === 0) return;
  for await (const { records } of consumer.batches({ signal: io.signal })) {
    const taken = records.length > left ? records.slice(0, left) : records;
    left -= taken.length;
    await printResult(io, Buffer.concat(taken.map(format)));
    if (left === 0) return;
  }
};

export const consumeCommand = (io: Io): Command =>
  clusterCommand(
    "consume",
    "Read records and print them",
    "millrace consume logs --from earliest --until-end --format '%p %o %v\\n'",
    io,
  )
    .argument("<TOPIC>")
    .option(
      "--from <POSITION>",
      "earliest, latest, OFFSET, -N (the last N), or a time (RFC 3339); default latest, or earliest with --until-end",
    )
    .option("--partition <P>", "only this partition; may be repeated", collect)
    .option("--max <N>", "stop after N records")
    .option("--until-end", "stop at the end of the log as of now")
    .addOption(
      new Option("--isolation <LEVEL>", "which records of transactions to read")
        .choices(["read_committed", "read_uncommitted"])
        .default("read_uncommitted"),
    )
    .option("--format <FORMAT>", "value, json, or a template of %t %p %o %k %v %h %T", "value")
    .action(async (topic: string, flags: Flags) => {
      const plan = planOf(flags);
      await withClient(io, flags, (client) => consume(client, topic, plan, flags, io));
    });

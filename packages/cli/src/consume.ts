/** `millrace consume`. */
import type { Assignment, Client } from "@millrace/client";
import { type Command, Option } from "commander";
import { formatterOf } from "./format.ts";
import { type Io, wholeNumber, write } from "./io.ts";
import { parsePosition } from "./position.ts";
import { type ClusterFlags, clusterCommand, withClient } from "./shared.ts";

type Flags = ClusterFlags & Readonly<Record<string, unknown>>;

const collect = (value: string, all: readonly string[] = []): string[] => [...all, value];

const consume = async (client: Client, topic: string, flags: Flags, io: Io): Promise<void> => {
  const untilEnd = flags["untilEnd"] === true;
  const from = parsePosition(String(flags["from"] ?? (untilEnd ? "earliest" : "latest")));
  const format = formatterOf(String(flags["format"]));
  const max =
    flags["max"] === undefined
      ? Number.POSITIVE_INFINITY
      : wholeNumber("--max", String(flags["max"]), 0, Number.MAX_SAFE_INTEGER);
  const chosen = flags["partition"] as string[] | undefined;
  const count = await client.partitionCount(topic);
  const partitions =
    chosen?.map((text) => wholeNumber("--partition", text, 0, count - 1)) ??
    Array.from({ length: count }, (_, partition) => partition);
  const isolation = String(flags["isolation"]) as "read_committed" | "read_uncommitted";
  const consumer = client.consumer({ untilEnd, isolation });
  await consumer.assign(partitions.map((partition): Assignment => ({ topic, partition, from })));
  let left = max;
  if (left === 0) return;
  for await (const { records } of consumer.batches({ signal: io.signal })) {
    const taken = records.length > left ? records.slice(0, left) : records;
    left -= taken.length;
    await write(io.stdout, Buffer.concat(taken.map(format)));
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
    .option("--max <N>", "stop after so many records")
    .option("--until-end", "stop at the end as it is now")
    .addOption(
      new Option("--isolation <LEVEL>", "what to see of transactions")
        .choices(["read_committed", "read_uncommitted"])
        .default("read_uncommitted"),
    )
    .option("--format <FORMAT>", "value, json, or a template of %t %p %o %k %v %h %T", "value")
    .action(async (topic: string, flags: Flags) => {
      await withClient(flags, (client) => consume(client, topic, flags, io));
    });

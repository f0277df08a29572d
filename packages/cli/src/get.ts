/** `millrace get`. */
import type { Client } from "@millrace/client";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { Command } from "commander";
import { formatHelp, formatterOf } from "./format.ts";
import { type Io, printResult, UsageError, wholeNumber } from "./io.ts";
import { type ClusterFlags, clusterCommand, withClient } from "./shared.ts";

type Flags = ClusterFlags & Readonly<Record<string, unknown>>;

/** The flags, checked before a server is asked. */
interface Plan {
  readonly topic: string;
  /** Undefined with a prefix. */
  readonly key: string | undefined;
  readonly prefix: string | undefined;
  readonly partition: number | undefined;
  readonly format: ReturnType<typeof formatterOf>;
}

const planOf = (topic: string, key: string | undefined, flags: Flags): Plan => {
  const prefix = flags["prefix"] === undefined ? undefined : String(flags["prefix"]);
  if ((key === undefined) === (prefix === undefined)) {
    throw new UsageError("give a KEY, or --prefix with what the keys begin with");
  }
  const partition =
    flags["partition"] === undefined
      ? undefined
      : wholeNumber("--partition", String(flags["partition"]), 0, 0xffff_ffff);
  const byDefault = key === undefined ? "%k\\t%v\\n" : "value";
  return {
    topic,
    key,
    prefix,
    partition,
    format: formatterOf(String(flags["format"] ?? byDefault)),
  };
};

const notFound = (topic: string, key: string, deletedAt: bigint | undefined): MillraceError => {
  const what = `key ${JSON.stringify(key)} of topic ${topic}`;
  const why = deletedAt === undefined ? "has no record" : `was deleted at offset ${deletedAt}`;
  return new MillraceError(
    ErrorCode.KEY_NOT_FOUND,
    `${what} ${why}: check the key, or list keys with --prefix`,
  );
};

const get = async (client: Client, io: Io, plan: Plan): Promise<void> => {
  const { format, key, partition, prefix = "", topic } = plan;
  const where = { topic, ...(partition === undefined ? {} : { partition }) };
  if (key === undefined) {
    for await (const record of client.latest({ ...where, prefix })) {
      await printResult(io, format(record));
    }
    return;
  }
  const record = await client.getLatest({ ...where, key });
  if (record === undefined) throw notFound(topic, key, undefined);
  if (record.value === null) throw notFound(topic, key, record.offset);
  await printResult(io, format(record));
};

export const getCommand = (io: Io): Command =>
  clusterCommand(
    "get",
    "Print the latest record of a key of a compacted topic",
    "millrace get users user-1 --format json",
  )
    .argument("<TOPIC>")
    .argument("[KEY]", "UTF-8")
    .option(
      "--prefix <TEXT>",
      "instead of a KEY: all keys that begin with it, by partition and key",
    )
    .option("-p, --partition <P>", "where the key is; by default as default partitioners choose")
    .option(
      "-f, --format <FORMAT>",
      "value, json, or a template such as '%o %v\\n'; default value, or '%k\\t%v\\n' with --prefix",
    )
    .addHelpText("after", "  millrace get users --prefix user-")
    .addHelpText("after", () => `\n${formatHelp()}`)
    .action(async (topic: string, key: string | undefined, flags: Flags) => {
      const plan = planOf(topic, key, flags);
      await withClient(io, flags, (client) => get(client, io, plan));
    });

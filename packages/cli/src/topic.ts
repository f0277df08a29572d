/** `millrace topic …`. */
import { ErrorCode, hasCode } from "@millrace/errors";
import { ConfigSource } from "@millrace/proto/controller";
import type { Command } from "commander";
import { collect, counted, type Io, printResult, tell, UsageError, wholeNumber } from "./io.ts";
import { reassign } from "./reassign.ts";
import {
  type ClusterFlags,
  clusterCommand,
  commandGroup,
  hexOf,
  print,
  tableText,
  toJson,
  withClient,
  withOutput,
} from "./shared.ts";

type Flags = ClusterFlags & Readonly<Record<string, unknown>>;

/** Parses `K=V` pairs into a map, in which no key is special. Throws UsageError. */
export const parseConfigs = (pairs: readonly string[] = []): Map<string, string> => {
  const configs = new Map<string, string>();
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    if (at < 1) throw new UsageError(`--config ${pair}: use KEY=VALUE`);
    const key = pair.slice(0, at);
    if (configs.has(key)) throw new UsageError(`--config ${key} is given twice: give it once`);
    configs.set(key, pair.slice(at + 1));
  }
  return configs;
};

const create = (io: Io): Command =>
  clusterCommand("create", "Create a topic", "millrace topic create logs --partitions 4")
    .argument("<NAME>")
    .option("-p, --partitions <N>", "number of partitions", "1")
    .option(
      "-r, --replication-factor <N>",
      "replicas per partition; 0 means the cluster's default",
      "0",
    )
    .option("-c, --config <K=V>", "a topic config; may be repeated", collect)
    .option("--if-not-exists", "succeed when the topic exists")
    .action(async (name: string, flags: Flags) => {
      const configs = Object.fromEntries(parseConfigs(flags["config"] as string[] | undefined));
      const partitions = wholeNumber("--partitions", String(flags["partitions"]), 1, 10_000);
      const replicationFactor = wholeNumber(
        "--replication-factor",
        String(flags["replicationFactor"]),
        0,
        32,
      );
      await withClient(io, flags, async (client) => {
        try {
          await client.admin.createTopic({ name, partitions, replicationFactor, configs });
          const count = counted(partitions, "partition");
          await tell(io, `created topic ${name} with ${count}\n`);
        } catch (thrown) {
          const there = hasCode(thrown, ErrorCode.TOPIC_ALREADY_EXISTS);
          if (!there || flags["ifNotExists"] !== true) throw thrown;
          await tell(io, `topic ${name} already exists\n`);
        }
      });
    });

const list = (io: Io): Command =>
  withOutput(clusterCommand("list", "List topics", "millrace topic list --output json")).action(
    async (flags: Flags) => {
      await withClient(io, flags, async (client) => {
        const topics = [];
        for await (const topic of client.admin.listTopics()) topics.push(topic);
        const rows = topics.map((topic) => [
          topic.name,
          topic.partitionCount,
          topic.replicationFactor,
          hexOf(topic.topicId),
        ]);
        const json = topics.map(({ name, topicId, partitionCount, replicationFactor }) => ({
          name,
          topic_id: hexOf(topicId),
          partitions: partitionCount,
          replication_factor: replicationFactor,
        }));
        await print(
          io,
          String(flags["output"]),
          json,
          ["NAME", "PARTITIONS", "REPLICAS", "ID"],
          rows,
        );
      });
    },
  );

const partitionColumns = [
  "PARTITION",
  "LEADER",
  "EPOCH",
  "REPLICAS",
  "ISR",
  "ELR",
  "START",
  "HIGH WATERMARK",
  "BYTES",
];

const describe = (io: Io): Command =>
  withOutput(
    clusterCommand("describe", "Describe a topic", "millrace topic describe logs").argument(
      "<NAME>",
    ),
  ).action(async (name: string, flags: Flags) => {
    await withClient(io, flags, async (client) => {
      const [topic] = await client.admin.describeTopics({ names: [name] });
      if (topic === undefined) return;
      const logs = await client.admin.describeLogs({ topics: [name] });
      const partitions = topic.partitions.map((one) => {
        const log = logs.find((found) => found.partition === one.partition);
        return {
          partition: one.partition,
          leader: one.leader ?? null,
          leader_epoch: one.leaderEpoch,
          replicas: one.replicas,
          adding: one.adding,
          removing: one.removing,
          isr: one.isr,
          elr: one.elr,
          log_start_offset: log?.logStartOffset ?? null,
          high_watermark: log?.highWatermark ?? null,
          size_bytes: log?.sizeBytes ?? null,
          error: log?.error?.message ?? null,
        };
      });
      const configs = topic.configs.map(({ key, value, source }) => ({
        key,
        value,
        source: (ConfigSource[source] ?? "unspecified").toLowerCase(),
      }));
      const json = {
        name: topic.name,
        topic_id: hexOf(topic.topicId),
        replication_factor: topic.replicationFactor,
        configs,
        partitions,
      };
      if (flags["output"] === "json") {
        await printResult(io, `${toJson(json)}\n`);
        return;
      }
      await printResult(
        io,
        `${topic.name}  id ${json.topic_id}  replicas ${topic.replicationFactor}\n\n`,
      );
      const rows = partitions.map((one) => [
        one.partition,
        one.leader ?? "none",
        one.leader_epoch,
        one.replicas.join(","),
        one.isr.join(","),
        one.elr.join(",") || "-",
        one.log_start_offset ?? "?",
        one.high_watermark ?? "?",
        one.size_bytes ?? one.error ?? "?",
      ]);
      await printResult(io, await tableText(io, partitionColumns, rows));
      const settings = configs.map(({ key, value, source }) => [key, value, source]);
      await printResult(io, `\n${await tableText(io, ["CONFIG", "VALUE", "SOURCE"], settings)}`);
    });
  });

const alter = (io: Io): Command =>
  clusterCommand(
    "alter",
    "Add partitions or change configs",
    "millrace topic alter logs --config retention.ms=1d",
  )
    .argument("<NAME>")
    .option("-p, --partitions <N>", "new number of partitions; can only grow")
    .option("-c, --config <K=V>", "a topic config to set; K= resets it to the default", collect)
    .action(async (name: string, flags: Flags) => {
      const configs = parseConfigs(flags["config"] as string[] | undefined);
      const partitions =
        flags["partitions"] === undefined
          ? undefined
          : wholeNumber("--partitions", String(flags["partitions"]), 1, 10_000);
      if (partitions === undefined && configs.size === 0) {
        throw new UsageError("nothing to change: give --partitions or --config");
      }
      const set = Object.fromEntries([...configs].filter(([, value]) => value !== ""));
      const remove = [...configs.keys()].filter((key) => configs.get(key) === "");
      await withClient(io, flags, async (client) => {
        if (configs.size > 0) await client.admin.alterConfigs({ topic: name, set, remove });
        if (partitions !== undefined) await client.admin.createPartitions({ name, partitions });
        await tell(io, `altered topic ${name}\n`);
      });
    });

const remove = (io: Io): Command =>
  clusterCommand("delete", "Delete topics and all their records", "millrace topic delete logs")
    .argument("<NAME...>")
    .action(async (names: string[], flags: Flags) => {
      await withClient(io, flags, async (client) => {
        // A name that is wrong is found before anything is gone.
        await client.admin.describeTopics({ names });
        for (const name of new Set(names)) {
          await client.admin.deleteTopic({ name });
          await tell(io, `deleted topic ${name}\n`);
        }
      });
    });

const deleteRecords = (io: Io, name = "delete-records"): Command =>
  clusterCommand(
    name,
    "Delete the records of a partition before an offset",
    `millrace topic ${name} logs --partition 0 --before 1000`,
  )
    .argument("<NAME>")
    .requiredOption("-p, --partition <P>", "partition")
    .requiredOption("--before <OFFSET>", "first offset to keep")
    .action(async (name: string, flags: Flags) => {
      const partition = wholeNumber("--partition", String(flags["partition"]), 0, 0xffff_ffff);
      const before = wholeNumber("--before", String(flags["before"]), 0, Number.MAX_SAFE_INTEGER);
      await withClient(io, flags, async (client) => {
        const what = { topic: name, partition, beforeOffset: before };
        const start = await client.admin.deleteRecords(what);
        await tell(io, `${name}-${partition} starts at offset ${start}\n`);
      });
    });

const electLeader = (io: Io): Command =>
  clusterCommand(
    "elect-leader",
    "Have the preferred replica lead a partition, or, by --unclean, one that is not complete",
    "millrace topic elect-leader logs --partition 0",
  )
    .argument("<NAME>")
    .requiredOption("-p, --partition <P>", "partition")
    .option("--unclean", "where no complete replica can lead; needs --accept-data-loss")
    .option("--leader <ID>", "with --unclean: who leads; by default the first that is there")
    .option("--accept-data-loss", "records that are not on the new leader's disk go for good")
    .action(async (name: string, flags: Flags) => {
      const partition = wholeNumber("--partition", String(flags["partition"]), 0, 0xffff_ffff);
      const isUnclean = flags["unclean"] === true;
      if (isUnclean && flags["acceptDataLoss"] !== true) {
        throw new UsageError(
          "--unclean loses the records that the new leader lacks: add --accept-data-loss",
        );
      }
      if (!isUnclean && flags["leader"] !== undefined) {
        throw new UsageError("--leader goes with --unclean: the preferred leader is decided");
      }
      const leader =
        flags["leader"] === undefined
          ? {}
          : { leader: wholeNumber("--leader", String(flags["leader"]), 0, 0xffff_ffff) };
      await withClient(io, flags, async (client) => {
        const where = { topic: name, partition };
        const election = isUnclean ? { ...where, unclean: leader } : where;
        const elected = await client.admin.electLeader(election);
        const text = `broker ${elected.leader} leads ${name}-${partition}`;
        await tell(io, `${text} in epoch ${elected.leaderEpoch}\n`);
      });
    });

/** The group with all its commands. */
export const topicCommand = (io: Io): Command => {
  const group = commandGroup(
    "topic",
    "Create, list, describe, change and delete topics",
    "millrace topic create logs --partitions 4",
  );
  for (const make of [create, list, describe, alter, reassign, remove]) group.addCommand(make(io));
  group.addCommand(deleteRecords(io)).addCommand(electLeader(io));
  // The former name.
  return group.addCommand(deleteRecords(io, "truncate"), { hidden: true });
};

/** `millrace topic reassign`: moves the replicas of a partition, and shows what moves. */
import type { Client } from "@millrace/client";
import type { Command } from "commander";
import { type Io, tell, UsageError, wholeNumber } from "./io.ts";
import { type ClusterFlags, clusterCommand, print, withClient, withOutput } from "./shared.ts";

type Flags = ClusterFlags & Readonly<Record<string, unknown>>;

/** Broker ids, in order of preference. Throws UsageError. */
export const parseReplicas = (text: string): number[] =>
  text.split(",").map((id) => wholeNumber("--replicas", id.trim(), 0, 0x7fff_ffff));

const list = async (io: Io, client: Client, name: string, output: string): Promise<void> => {
  const found = [];
  for await (const one of client.admin.listPartitionReassignments()) {
    if (one.topic === name) found.push(one);
  }
  const json = found.map(({ partition, replicas, adding, removing, isr }) => ({
    ...{ partition, replicas, adding, removing, isr },
  }));
  const rows = json.map(({ partition, ...sets }) => [
    partition,
    ...Object.values(sets).map((ids) => ids.join(",") || "-"),
  ]);
  await print(io, output, json, ["PARTITION", "REPLICAS", "ADDING", "REMOVING", "ISR"], rows);
};

/** What the flags ask for. */
interface Plan {
  readonly partition: number;
  /** The target, or the end of a move. */
  readonly replicas: readonly number[] | "cancel";
  readonly validateOnly: boolean;
}

/** Throws UsageError. */
const planOf = (flags: Flags): Plan => {
  const { replicas, cancel, partition } = flags;
  if ((replicas === undefined) === (cancel !== true)) {
    throw new UsageError("give one of --replicas, --cancel and --list");
  }
  if (partition === undefined) {
    throw new UsageError("--partition is missing: give the number of the partition to move");
  }
  return {
    partition: wholeNumber("--partition", String(partition), 0, 0xffff_ffff),
    replicas: cancel === true ? "cancel" : parseReplicas(String(replicas)),
    validateOnly: flags["dryRun"] === true,
  };
};

const move = async (io: Io, client: Client, topic: string, plan: Plan): Promise<void> => {
  const { partition, replicas, validateOnly } = plan;
  const moves = [{ topic, partition, replicas }];
  const [result] = await client.admin.alterPartitionReassignments({ moves, validateOnly });
  if (result?.error !== undefined) throw result.error;
  const name = `${topic}-${partition}`;
  const done =
    replicas === "cancel" ? `${name} goes back` : `${name} moves to brokers ${replicas.join(", ")}`;
  await tell(io, validateOnly ? `${done}: allowed, and not done\n` : `${done}\n`);
};

export const reassign = (io: Io): Command =>
  withOutput(
    clusterCommand(
      "reassign",
      "Move a partition to other brokers",
      "millrace topic reassign logs --partition 0 --replicas 1,2,3",
    ),
  )
    .argument("<NAME>")
    .option("--partition <P>", "partition")
    .option("--replicas <ID,…>", "brokers of the replicas, the preferred leader first")
    .option("--cancel", "back to the replicas of before")
    .option("--list", "show the partitions of the topic that are moving")
    .option("--dry-run", "check everything, change nothing")
    .action(async (name: string, flags: Flags) => {
      const plan = flags["list"] === true ? undefined : planOf(flags);
      await withClient(io, flags, (client) =>
        plan === undefined
          ? list(io, client, name, String(flags["output"]))
          : move(io, client, name, plan),
      );
    });

/** `millrace group …`. */
import type { Admin } from "@millrace/client";
import { MillraceError } from "@millrace/errors";
import type { Command } from "commander";
import { partitionsText } from "./consume-group.ts";
import { timeText } from "./format.ts";
import { type Io, printResult, tell } from "./io.ts";
import { parsePosition, positionForms } from "./position.ts";
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
type Description = Awaited<ReturnType<Admin["describeGroup"]>>;
type Named = Description["members"][number]["assigned"];

const list = (io: Io): Command =>
  withOutput(
    clusterCommand("list", "List consumer groups", "millrace group list --output json"),
  ).action(async (flags: Flags) => {
    await withClient(io, flags, async (client) => {
      const groups = await client.admin.listGroups();
      const rows = groups.map(({ group, state, members }) => [group, state, members]);
      await print(io, String(flags["output"]), groups, ["GROUP", "STATE", "MEMBERS"], rows);
    });
  });

const namedJson = (topics: Named) =>
  topics.map(({ topic, topicId, partitions }) => ({
    ...{ topic, topic_id: hexOf(topicId), partitions },
  }));

const memberJson = (member: Description["members"][number]) => ({
  member_id: member.memberId,
  instance_id: member.instanceId || null,
  client_id: member.clientId,
  client_host: member.clientHost,
  rack_id: member.rackId || null,
  member_epoch: member.memberEpoch,
  connected: member.connected,
  topics: member.topics,
  topic_pattern: member.topicPattern || null,
  assigned: namedJson(member.assigned),
  revoking: namedJson(member.revoking),
  target: namedJson(member.target),
});

const partitionsJson = ({ topics }: Description) =>
  topics.flatMap(({ topic, topicId, partitions }) =>
    partitions.map((one) => ({
      topic,
      topic_id: hexOf(topicId),
      partition: one.partition,
      member_id: one.memberId || null,
      committed_offset: one.committed?.offset ?? null,
      commit_time: one.committed === undefined ? null : timeText(Number(one.commitTimeMs)),
      end_offset: one.endOffset ?? null,
      lag_records: one.lagRecords ?? null,
      lag_seconds: one.lagMs === undefined ? null : Number(one.lagMs) / 1000,
    })),
  );

/** Characters that tell member ids apart; at least eight. */
const shortLength = (ids: readonly string[]): number => {
  let length = 8;
  while (length < 32 && new Set(ids.map((id) => id.slice(0, length))).size < ids.length) {
    length += 4;
  }
  return length;
};

const placesOf = (topics: Named) =>
  topics.flatMap(({ topic, partitions }) => partitions.map((partition) => ({ topic, partition })));

const secondsText = (seconds: number | null): string => {
  if (seconds === null) return "?";
  return seconds === 0 ? "0 s" : `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
};

const describe = (io: Io): Command =>
  withOutput(
    clusterCommand(
      "describe",
      "Describe a group: its members, and how far it is behind",
      "millrace group describe billing",
    ).argument("<GROUP>"),
  ).action(async (name: string, flags: Flags) => {
    await withClient(io, flags, async (client) => {
      const { groupStateName } = await import("@millrace/client");
      const group = await client.admin.describeGroup({ group: name });
      const state = groupStateName(group.state);
      const partitions = partitionsJson(group);
      if (flags["output"] === "json") {
        const json = {
          group: group.group,
          state,
          group_epoch: group.groupEpoch,
          target_epoch: group.targetEpoch,
          assignor: group.assignor,
          coordinator_id: group.coordinatorId,
          members: group.members.map(memberJson),
          partitions,
        };
        await printResult(io, `${toJson(json)}\n`);
        return;
      }
      const epochs = `epoch ${group.groupEpoch}  assignor ${group.assignor}`;
      await printResult(
        io,
        `${group.group}  ${state}  ${epochs}  coordinator ${group.coordinatorId}\n`,
      );
      const length = shortLength(group.members.map(({ memberId }) => memberId));
      const members = group.members.map((member) => [
        member.memberId.slice(0, length),
        member.instanceId || member.clientId || "-",
        member.connected ? member.clientHost : "lost",
        partitionsText(placesOf(member.assigned)),
      ]);
      if (members.length > 0) {
        const head = ["MEMBER", "NAME", "HOST", "PARTITIONS"];
        await printResult(io, `\n${await tableText(io, head, members)}`);
      }
      const rows = partitions.map((one) => [
        one.topic || one.topic_id.slice(0, 8),
        one.partition,
        one.committed_offset ?? "-",
        one.end_offset ?? "?",
        one.lag_records ?? "?",
        secondsText(one.lag_seconds),
        one.member_id?.slice(0, length) ?? "-",
      ]);
      if (rows.length === 0) return;
      const head = ["TOPIC", "P", "COMMITTED", "END", "LAG", "BEHIND", "MEMBER"];
      await printResult(io, `\n${await tableText(io, head, rows)}`);
    });
  });

const reset = (io: Io): Command =>
  withOutput(
    clusterCommand(
      "reset",
      "Set where a group goes on in a topic, also while it has members",
      "millrace group reset billing orders --to -1h --dry-run",
    )
      .argument("<GROUP>")
      .argument("<TOPIC>")
      .requiredOption("--to <POSITION>", positionForms)
      .option("--dry-run", "print the offsets, and set nothing"),
  ).action(async (group: string, topic: string, flags: Flags) => {
    const to = parsePosition("--to", String(flags["to"]), Date.now());
    const validateOnly = flags["dryRun"] === true;
    await withClient(io, flags, async (client) => {
      const results = await client.admin.resetOffsets({ group, topic, to, validateOnly });
      const set = results.filter(({ error }) => error === undefined);
      const rows = set.map((one) => [one.partition, one.offset]);
      const json = set.map(({ partition, offset }) => ({ topic, partition, offset }));
      await print(io, String(flags["output"]), json, ["PARTITION", "OFFSET"], rows);
      const refused = results.find(({ error }) => error !== undefined);
      if (refused?.error === undefined) return;
      const { error, partition } = refused;
      const text = `${topic}-${partition} was not set: ${error.message}`;
      throw new MillraceError(error.code, text, { cause: error });
    });
  });

const remove = (io: Io): Command =>
  clusterCommand(
    "delete",
    "Delete groups without members, with their offsets",
    "millrace group delete billing",
  )
    .argument("<GROUP...>")
    .action(async (groups: string[], flags: Flags) => {
      await withClient(io, flags, async (client) => {
        for (const group of new Set(groups)) {
          await client.admin.deleteGroup({ group });
          await tell(io, `deleted group ${group}\n`);
        }
      });
    });

/** The group with all its commands. */
export const groupCommand = (io: Io): Command => {
  const group = commandGroup(
    "group",
    "List, describe, reset and delete consumer groups",
    "millrace group describe billing",
  );
  for (const make of [list, describe, reset, remove]) group.addCommand(make(io));
  return group;
};

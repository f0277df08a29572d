/** `millrace cluster …` and `millrace broker …`. */
import { ErrorCode, formatEndpoint, MillraceError } from "@millrace/errors";
import type { MaintenanceLease } from "@millrace/proto/controller";
import type { Command } from "commander";
import { intentCommands, intentName } from "./broker.ts";
import { type Io, printIfRead, wholeNumber } from "./io.ts";
import { kindName, leftOf, printableLease } from "./maintenance.ts";
import {
  type ClusterFlags,
  clusterCommand,
  commandGroup,
  print,
  tableText,
  toJson,
  withClient,
  withOutput,
} from "./shared.ts";

/** A broker as it is printed: with its address as `host:port`. */
const printable = (broker: {
  readonly brokerId: number;
  readonly endpoint: Parameters<typeof formatEndpoint>[0];
  readonly rack: string;
}) => ({
  broker_id: broker.brokerId,
  endpoint: formatEndpoint(broker.endpoint),
  rack: broker.rack,
});

type Flags = ClusterFlags & Readonly<Record<string, unknown>>;

const coordinatorsText = (
  coordinators: readonly { readonly coordinator_id: number; readonly endpoint: string }[],
): string =>
  coordinators.map(({ coordinator_id: id, endpoint }) => `${id} (${endpoint})`).join(", ") ||
  "none";

/** One line: which brokers are in maintenance. */
const maintenanceText = (leases: readonly MaintenanceLease[]): string =>
  leases
    .map((one) => `broker ${one.brokerId} (${kindName(one.kind)}, ${one.holder}, ${leftOf(one)})`)
    .join(", ") || "none";

const status = (io: Io): Command =>
  withOutput(clusterCommand("status", "Show cluster health", "millrace cluster status")).action(
    async (flags: Flags) => {
      const healthy = await withClient(io, flags, async (client) => {
        const cluster = await client.admin.cluster();
        const names: string[] = [];
        for await (const { name } of client.admin.listTopics()) names.push(name);
        const counts = { partitions: 0, offline: 0, under_min_isr: 0, under_replicated: 0 };
        for (let at = 0; at < names.length; at += 100) {
          for (const topic of await client.admin.describeTopics({
            names: names.slice(at, at + 100),
          })) {
            const wanted = topic.configs.find(({ key }) => key === "min.insync.replicas")?.value;
            for (const one of topic.partitions) {
              counts.partitions += 1;
              if (one.leader === undefined) counts.offline += 1;
              const before = one.replicas.length - one.adding.length;
              const least = Math.min(Number(wanted ?? 1), before);
              if (one.isr.length < least) counts.under_min_isr += 1;
              if (one.isr.length < one.replicas.length) counts.under_replicated += 1;
            }
          }
        }
        const logs = await client.admin.describeLogs();
        counts.offline += logs.filter(({ error }) => error !== undefined).length;
        const { clusterId } = cluster;
        const controller = formatEndpoint(cluster.controller);
        const brokers = cluster.brokers.map(printable);
        const coordinators = cluster.coordinators.map(({ coordinatorId, endpoint }) => ({
          ...{ coordinator_id: coordinatorId, endpoint: formatEndpoint(endpoint) },
        }));
        const described = await client.admin.describeBrokers();
        const leases = described.flatMap(({ maintenance }) => maintenance ?? []);
        const json = {
          cluster_id: clusterId,
          controller,
          brokers,
          group_coordinators: coordinators,
          maintenance: leases.map(printableLease),
          topics: names.length,
          ...counts,
        };
        if (flags["output"] === "json") await printIfRead(io, `${toJson(json)}\n`);
        else {
          const rows = [
            ["cluster id", clusterId],
            ["controller", controller],
            [
              "brokers",
              brokers.map(({ broker_id: id, endpoint }) => `${id} (${endpoint})`).join(", "),
            ],
            ["group coordinators", coordinatorsText(coordinators)],
            ["maintenance", maintenanceText(leases)],
            ["topics", names.length],
            ["partitions", counts.partitions],
            ["offline", counts.offline],
            ["under min ISR", counts.under_min_isr],
            ["under-replicated", counts.under_replicated],
          ];
          await printIfRead(io, await tableText(io, [], rows));
        }
        return counts.offline + counts.under_min_isr === 0 && brokers.length > 0;
      });
      if (healthy) return;
      throw new MillraceError(
        ErrorCode.LEADER_NOT_AVAILABLE,
        "the cluster is not healthy: see the counts on stdout",
      );
    },
  );

const list = (io: Io): Command =>
  withOutput(clusterCommand("list", "List brokers", "millrace broker list")).action(
    async (flags: Flags) => {
      await withClient(io, flags, async (client) => {
        const endpoints = new Map(
          (await client.admin.cluster()).brokers.map((one) => [one.brokerId, printable(one)]),
        );
        const json = (await client.admin.describeBrokers()).map((one) => ({
          ...{ broker_id: one.brokerId, endpoint: endpoints.get(one.brokerId)?.endpoint ?? null },
          ...{ rack: one.rack, intent: intentName(one.intent), registered: one.registered },
          ...{ replicas: one.replicaCount, leaders: one.leaderCount },
          ...{ adding: one.addingCount, removing: one.removingCount },
          ...{ immovable: one.immovableCount, leftovers: one.leftoverCount },
          logs: one.logCount ?? null,
        }));
        const rows = json.map((one) => [
          ...[one.broker_id, one.endpoint ?? "-", one.rack || "-", one.intent],
          ...[one.registered ? "yes" : "no", one.replicas, one.leaders, one.removing],
        ]);
        const head = ["ID", "ENDPOINT", "RACK", "INTENT", "UP", "REPLICAS", "LEADERS", "MOVING"];
        await print(io, String(flags["output"]), json, head, rows);
      });
    },
  );

const describe = (io: Io): Command =>
  withOutput(
    clusterCommand(
      "describe",
      "Describe a broker and its logs",
      "millrace broker describe 0",
    ).argument("<ID>"),
  ).action(async (text: string, flags: Flags) => {
    const id = wholeNumber("ID", text, 0, 0x7fff_ffff);
    await withClient(io, flags, async (client) => {
      const described = (await client.admin.describeBrokers()).find((one) => one.brokerId === id);
      if (described === undefined) {
        throw new MillraceError(
          ErrorCode.INVALID_REQUEST,
          `no broker ${id}: see millrace broker list`,
        );
      }
      const logs = (await client.admin.describeLogs()).filter(({ brokerId }) => brokerId === id);
      const bytes = logs.reduce((sum, log) => sum + Number(log.sizeBytes), 0);
      const { brokers } = await client.admin.cluster();
      const endpoint = brokers.find(({ brokerId }) => brokerId === id)?.endpoint;
      const { brokerEpoch, directoryId, maintenance, rack } = described;
      const json = {
        ...{ broker_id: id, endpoint: endpoint === undefined ? null : formatEndpoint(endpoint) },
        ...{ rack, partitions: logs.length, size_bytes: bytes },
        ...{ broker_epoch: brokerEpoch, directory_id: directoryId },
        maintenance: maintenance === undefined ? null : printableLease(maintenance),
      };
      const lease = maintenance && `${kindName(maintenance.kind)} (${maintenance.holder})`;
      const directory = Buffer.from(directoryId).toString("hex");
      const rows = [
        [id, json.endpoint ?? "-", rack || "-", logs.length, bytes, directory, lease ?? "-"],
      ];
      const head = ["ID", "ENDPOINT", "RACK", "PARTITIONS", "BYTES", "DIRECTORY", "MAINTENANCE"];
      await print(io, String(flags["output"]), json, head, rows);
    });
  });

export const clusterGroup = (io: Io): Command =>
  commandGroup("cluster", "State of the cluster", "millrace cluster status").addCommand(status(io));

export const brokerGroup = (io: Io): Command => {
  const group = commandGroup(
    "broker",
    "List, cordon, drain and decommission brokers",
    "millrace broker drain 3 --wait",
  );
  for (const one of [list(io), describe(io), ...intentCommands(io)]) group.addCommand(one);
  return group;
};

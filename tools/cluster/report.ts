/** What the supervisor prints once everything is ready. */
import { replicasOf } from "./layout.ts";
import type { ClusterFile } from "./state.ts";

/** A row for each process, with columns of one width. */
const tableOf = ({ processes }: ClusterFile): string[] => {
  const rows = processes.map(({ endpoints, log, name, state }) => [
    ...[name, state, endpoints["client"] ?? "", endpoints["http"] ?? "", log],
  ]);
  const all = [["process", "state", "clients", "http", "log"], ...rows];
  const widths = [0, 1, 2, 3].map((at) => Math.max(...all.map((row) => row[at]?.length ?? 0)));
  return all.map((row) => row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  "));
};

export const reportOf = (cluster: ClusterFile): string => {
  const brokers = cluster.processes.filter(({ role }) => role === "broker").length;
  const replicas = replicasOf(brokers);
  return `${tableOf(cluster).join("\n")}

Try, in another terminal:
  export MILLRACE_BOOTSTRAP=${cluster.bootstrap}
  ./millrace topic create events --partitions 6 --replication-factor ${replicas}
  ./millrace cluster status
Ctrl-C stops everything.`;
};

/** The page of a cluster's benchmarks, from what one run measured. */
import { type CaseResult, type Row, rowsOf } from "./report.ts";
import { tableOf } from "./table.ts";

export interface Measured {
  readonly machine: string;
  /** Day of the run, YYYY-MM-DD. */
  readonly day: string;
  readonly minutes: number;
  readonly rounds: number;
  /** Options of the run, as on the command line. */
  readonly options: string;
  /** What `log verify` said of our data. */
  readonly verdict: string;
  readonly failures: readonly string[];
  readonly results: readonly CaseResult[];
}

const introduction = `What three brokers do, beside three nodes of Kafka and three servers of NATS JetStream, on one
machine in one run. The page is generated; [benchmarks](benchmarks.md) is about single servers.

- **Millrace**: three brokers, three controllers and one etcd, as \`npm run cluster\` lays them out,
  with the flags of \`npm start\`. Three replicas, \`min.insync.replicas\` 2, \`acks\` all. **An
  acknowledgement means fsynced on every replica in sync.** \`millrace\` are bare streams, one for
  each broker; \`millrace-client\` is the TypeScript client with its defaults, idempotence included.
- **Kafka** 4.4: three nodes that are broker and controller each. The same replicas,
  \`min.insync.replicas\` and \`acks\`; \`linger.ms\` 5, \`batch.size\` 128 KiB, idempotence.
  Acknowledged records are in the page cache of the replicas; nothing is fsynced, its default.
- **JetStream** 2.15: three servers, streams with three replicas. \`nats\` fsyncs every two minutes,
  its default; \`nats-always\` has \`sync_interval: always\`.

All clusters run throughout; rounds go through the contenders in turn; clients and servers share the
cores. CPU and bytes written are of all processes of a cluster, etcd and controllers included.
Faults are what a client with its defaults sees: a record of 1 KiB every 5 ms to each of six
partitions, and the longest time between two acknowledgements. The process that dies is started
again after a second. How each line is measured: [bench](../bench/README.md).`;

const lineOf = (title: string, row: Row): string => {
  const against = row.theirs === undefined ? "" : ` against ${row.peer}`;
  const ratio = row.theirs === undefined ? "" : `, ${row.ratio.toFixed(2)}×`;
  return `- ${title}: ${row.words}${against}${ratio}`;
};

const shortOf = (results: readonly CaseResult[]): string[] =>
  results.flatMap((result) =>
    rowsOf(result)
      .filter(({ verdict }) => verdict === "below")
      .map((row) => lineOf(result.title, row)),
  );

/** `name` is the page's own, without its ending: the plot is in a folder of that name. */
export const pageOf = (measured: Measured, name: string): string => {
  const { day, failures, machine, minutes, options, results, rounds, verdict } = measured;
  const short = shortOf(results);
  const section = (title: string, lines: readonly string[]): string =>
    lines.length === 0 ? "" : `\n## ${title}\n\n${lines.join("\n")}\n`;
  return `# Benchmarks of a cluster

${introduction}

## Repeat it

    npm run bench -- ${options}

Beside every case stands the option that repeats it.

## The run

${machine}.
${day}; ${rounds} round(s), ${minutes.toFixed(0)} minutes; median (lowest–highest).
\`log verify\` of what the brokers had in the end: ${verdict}.

![ratios](${name}/plot.svg)

${tableOf(results, "--cluster --only")}${section("Where it falls short", short)}${section(
  "What could not be measured",
  failures.map((one) => `- ${one.split("\n")[0]}`),
)}`;
};

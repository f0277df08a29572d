/** `node bench/deploy/main.ts`: members of a group are replaced one by one, under load. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { above0, commandLine } from "../../tools/command-line.ts";
import { killClusters, MillraceCluster } from "../lib/cluster.ts";
import { loadFlags } from "../lib/load.ts";
import { stopAll } from "../lib/processes.ts";
import { machine } from "../lib/report.ts";
import { SteadyLoad } from "../lib/steady-load.ts";
import { fetchPeers } from "../peers/fetch.ts";
import { Kafka } from "../peers/kafka.ts";
import { Group } from "./group.ts";
import { longestGapOf, type Outcome, outcomeOf, type Replacement } from "./history.ts";
import { pictureOf, type Side } from "./picture.ts";

const usage = `node bench/deploy/main.ts [--members N] [--partitions N] [--replaced N] [--out DIRECTORY]

  --members N      members of the group (50)
  --partitions N   partitions that they read (200)
  --replaced N     members that are replaced, one by one (10)
  --pace-ms N      pause between two records of a partition, ms (50)
  --static         members keep their names (group.instance.id)
  --no-kafka       without Kafka beside it
  --out DIRECTORY  writes a picture, and the table`;

const values = commandLine(usage, {
  members: { type: "string", default: "50" },
  partitions: { type: "string", default: "200" },
  replaced: { type: "string", default: "10" },
  "pace-ms": { type: "string", default: "50" },
  static: { type: "boolean", default: false },
  "no-kafka": { type: "boolean", default: false },
  out: { type: "string" },
});
const members = above0("members", values.members, usage);
const partitions = above0("partitions", values.partitions, usage);
const replaced = above0("replaced", values.replaced, usage);
const paceMs = above0("pace-ms", values["pace-ms"], usage);

const topic = "deploy";
const valueBytes = 100;
/** Between the end of one replacement and the next, and before the first, ms. */
const restMs = 1000;
const calmMs = 10_000;
const basePort = 27_400;

interface Contender {
  readonly group: Group;
  readonly stop: () => Promise<void>;
}

interface Measured extends Side {
  readonly outcome: Outcome;
  /** The longest gap of any partition before the first replacement, ms. */
  readonly calmGapMs: number;
}

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

const millrace = async (directory: string): Promise<Contender> => {
  const cluster = new MillraceCluster({ directory, basePort, groupCoordinators: 3 });
  await cluster.start();
  await cluster.topic(topic, partitions);
  const client = await cluster.connect();
  const load = new SteadyLoad({ client, topic, partitions, paceMs, valueBytes });
  const flags = ["--endpoint", cluster.endpoint, "--topic", topic, "--group", "deploy"];
  const args = [...loadFlags, path("members.ts"), ...flags];
  const group = new Group(process.execPath, args, partitions);
  const stop = async (): Promise<void> => {
    await load.stop();
    await client.close();
    await cluster.stop();
  };
  return { group, stop };
};

/** The producer of the other side ends with its input. */
const ended = (child: ChildProcess): Promise<void> => {
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.stdin?.end("\n");
  return gone;
};

const kafka = async (directory: string): Promise<Contender> => {
  const root = fetchPeers();
  const cluster = await Kafka.start(root, directory, 3);
  await cluster.topic(topic, partitions, false);
  const run = (...args: readonly (string | number)[]): readonly string[] => [
    ...["-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"],
    ...[
      "-cp",
      join(root, "kafka/libs/server/*"),
      path("../peers/Members.java"),
      ...args.map(String),
    ],
  ];
  const at = String(cluster.brokers);
  const producing = run("produce", at, topic, partitions, paceMs, valueBytes);
  const producer = spawn("java", producing, { stdio: ["pipe", "inherit", "inherit"] });
  const group = new Group("java", run("members", at, topic, "deploy"), partitions);
  const stop = async (): Promise<void> => {
    await ended(producer);
    await cluster.disconnect();
    await stopAll();
  };
  return { group, stop };
};

const instanceOf = (member: number): string | undefined =>
  values.static ? `instance-${member}` : undefined;

const measure = async (title: string, { group, stop }: Contender): Promise<Measured> => {
  for (let member = 0; member < members; member += 1)
    await group.add(`m${member}`, instanceOf(member));
  await group.settled();
  const fromMs = Date.now() + restMs;
  await sleep(restMs + calmMs);
  const replacements: Replacement[] = [];
  const calm = { fromMs, toMs: Date.now() };
  for (let member = 0; member < replaced; member += 1) {
    const leaves = `m${member}`;
    const comes = values.static ? leaves : `n${member}`;
    const atMs = Date.now();
    await group.remove(leaves);
    await group.add(comes, instanceOf(member));
    await group.settled();
    await sleep(restMs);
    replacements.push({ atMs, endMs: Date.now(), leaves, comes });
  }
  const { history } = group;
  await group.end();
  await stop();
  const outcome = outcomeOf(history, replacements);
  return { title, history, replacements, outcome, calmGapMs: longestGapOf(history, calm) };
};

const row = ({ title, outcome, calmGapMs, replacements }: Measured): string => {
  const { gapMs, movedGapMs, movesMax, moves, needlessMoves, settlingMs } = outcome;
  const seconds = ((replacements.at(-1)?.endMs ?? 0) - (replacements[0]?.atMs ?? 0)) / 1000;
  const cells = [
    ...[title, gapMs.toFixed(0), movedGapMs.toFixed(0), calmGapMs.toFixed(0)],
    ...[moves, movesMax, needlessMoves, settlingMs.toFixed(0), seconds.toFixed(1)],
  ];
  return `| ${cells.join(" | ")} |`;
};

const table = (sides: readonly Measured[]): string =>
  [
    "| | gap, stayed, ms | gap, moved, ms | gap before, ms | moves | of one at most | needless | settled after, ms | all, s |",
    "|---|---|---|---|---|---|---|---|---|",
    ...sides.map(row),
  ].join("\n");

const directory = mkdtempSync(join(tmpdir(), "millrace-deploy-"));
try {
  const sides = [await measure("Millrace", await millrace(join(directory, "millrace")))];
  if (!values["no-kafka"])
    sides.push(await measure("Kafka", await kafka(join(directory, "kafka"))));
  const kind = values.static ? "static" : "dynamic";
  const what = `${members} ${kind} members, ${partitions} partitions, ${replaced} replaced one by one`;
  const page = `${what}; ${machine()}\n\n${table(sides)}\n`;
  console.log(page);
  if (values.out !== undefined) {
    mkdirSync(values.out, { recursive: true });
    writeFileSync(join(values.out, `${kind}.svg`), pictureOf(sides));
    writeFileSync(join(values.out, `${kind}.md`), page);
  }
} finally {
  await killClusters();
  await stopAll();
  rmSync(directory, { recursive: true, force: true });
}
process.exit(0);

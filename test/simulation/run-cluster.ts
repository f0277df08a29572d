/** One run of a cluster: its clients, its troubles, and what is asked at the end. */
import type { Client } from "@millrace/client/core";
import { SeededRandom } from "@millrace/sim";
import { Cluster } from "./cluster.ts";
import { Groups } from "./groups/groups.ts";
import {
  check,
  finalLog,
  follow,
  History,
  makeTopic,
  produceInTurn,
  trim,
  untilReached,
} from "./history.ts";
import { checkReplicas, reassign } from "./moves.ts";
import { Race } from "./race.ts";
import type { RunReport } from "./run.ts";
import { changeTopics, checkDeleted } from "./topics.ts";

/** Whether brokers and controllers have machines of their own: the seed decides, or the caller. */
export type Layout = "together" | "apart";

export interface ClusterOptions {
  readonly brokers: number;
  /** Default: the seed decides. */
  readonly layout?: Layout | undefined;
  /** Whether there are group coordinators and members. Default: the seed decides. */
  readonly groups?: boolean | undefined;
  readonly onTrace?: ((line: string) => void) | undefined;
}

/** Longest time until clients, and troubles after them, have come to their end, ms. */
const workMsMax = 600_000;

/** Longest pauses between two records, ms: a run is short, or sees several crashes. */
const pausesMsMax = [60, 60, 400] as const;
/** How many producers come one after the other, for each of two writers. */
const producersInTurn = [1, 1, 3] as const;

const clientNames = ["reader", "w1", "w2", "trimmer", "mover", "maker"] as const;

type Clients = Readonly<Record<(typeof clientNames)[number], Client>>;

/** Clients that know their cluster: while the store is another one's they might take that one. */
const makeClients = async (cluster: Cluster): Promise<Clients> => {
  const made = clientNames.map(async (name) => {
    const client = cluster.client(name);
    await untilReached(async () => void (await client.admin.cluster()));
    return [name, client] as const;
  });
  return Object.fromEntries(await Promise.all(made)) as Clients;
};

/** Clients and troubles, which go on until `working` says no. */
const beginTrouble = (
  cluster: Cluster,
  clients: Clients,
  history: History,
  random: SeededRandom,
  working: () => boolean,
): Promise<unknown> => {
  const { brokers, faults, kernel, machines, operations } = cluster;
  const by = { random, marks: kernel.marks };
  const sleep = (ms: number): Promise<void> => cluster.sleep(ms);
  const jobs = [
    ...machines.map((machine) => cluster.crash(machine, working)),
    cluster.disturb(working),
    operations.run(working),
  ];
  if (faults.deletions) {
    const { trimmer } = clients;
    jobs.push(trim(trimmer, history, random, sleep, working, faults.foreignStores));
  }
  if (faults.moves) {
    jobs.push(reassign(clients.mover, brokers.length, by, sleep, working));
  }
  if (faults.otherTopics) {
    jobs.push(changeTopics(clients.maker, by, sleep, working));
  }
  return Promise.all(jobs);
};

const write = (
  cluster: Cluster,
  clients: Clients,
  history: History,
  random: SeededRandom,
): Promise<unknown> => {
  const pauseMsMax = cluster.faults.blindLeaders
    ? Math.max(...pausesMsMax)
    : random.pick(pausesMsMax);
  const count = random.pick(producersInTurn);
  const by = { random, sleep: (ms: number): Promise<void> => cluster.sleep(ms) };
  const writers = [clients.w1, clients.w2].map((client, one) => {
    const producers = Array.from({ length: count }, (_, i) => one + 1 + 2 * i);
    return produceInTurn(client, producers, history, by, pauseMsMax);
  });
  return Promise.all(writers);
};

const raceIn = (cluster: Cluster, seed: number): Race =>
  new Race(seed, {
    marks: cluster.kernel.marks,
    client: (name) => cluster.client(name),
    sleep: (ms) => cluster.sleep(ms),
  });

const simulate = async (cluster: Cluster, seed: number): Promise<History> => {
  const { brokers, faults, kernel, machines, operations } = cluster;
  const random = new SeededRandom(seed ^ 0x68bc21eb);
  const race = raceIn(cluster, seed);
  await kernel.run(Promise.all(machines.map((machine) => machine.start())));
  const configs = {
    ...{ "segment.bytes": "4096", "index.interval.bytes": "256" },
    "min.insync.replicas": String(Math.min(2, brokers.length)),
  };
  await kernel.run(makeTopic(cluster.client("admin"), configs));
  await kernel.run(race.begin(configs));
  const groups = groupsIn(cluster, seed);
  if (groups !== undefined) await kernel.run(groups.begin(configs));
  const history = new History(kernel.marks);
  let working = true;
  const isWorking = (): boolean => working;
  const failures: unknown[] = [];
  const note = (thrown: unknown): void => void failures.push(thrown);
  const stop = new AbortController();
  const mayVanish = (): boolean => faults.foreignStores;
  const clients = await kernel.run(makeClients(cluster));
  const readers = follow(clients.reader, history, stop.signal, mayVanish).catch(note);
  const members = groups?.run(isWorking, note).catch(note);
  const writers = Promise.all([write(cluster, clients, history, random), race.run()])
    .catch(note)
    .finally(() => {
      working = false;
    });
  const trouble = beginTrouble(cluster, clients, history, random, isWorking).catch(note);
  await kernel.run(writers, workMsMax);
  cluster.heal();
  await kernel.run(Promise.all([trouble, members]), workMsMax);
  if (failures.length > 0) throw failures[0];
  await kernel.run(cluster.untilWhole(), workMsMax);
  const found = await kernel.run(finalLog(cluster.client("checker")), workMsMax);
  const kept = [...found].filter(([place]) => !history.mayBeDeleted(place));
  if (groups !== undefined) await kernel.run(groups.finish(new Map(kept)), workMsMax);
  stop.abort();
  await kernel.run(readers, workMsMax);
  if (failures.length > 0) throw failures[0];
  check(history, found, cluster.disturbedMs);
  await kernel.run(race.finish(), workMsMax);
  const { mayLeaveLogs } = operations;
  const records = await kernel.run(cluster.partitions());
  await kernel.run(checkReplicas(brokers, records, mayLeaveLogs));
  operations.checkKept();
  if (!mayLeaveLogs) checkDeleted(brokers, await kernel.run(cluster.topics()));
  kernel.trace([...found].join());
  return history;
};

/** Undefined in a cluster without group coordinators. */
const groupsIn = (cluster: Cluster, seed: number): Groups | undefined => {
  if (cluster.groupCoordinators.length === 0) return undefined;
  const { faults, kernel, ledger, network } = cluster;
  return new Groups({
    ...{ kernel, network, ledger, seed, mayVanish: faults.foreignStores },
    client: (process, dialer) => cluster.clientIn(process, dialer),
    lasting: (name) => cluster.client(name),
    exposes: (hosts) => cluster.exposes(hosts),
    sleep: (ms) => cluster.sleep(ms),
  });
};

/** Group coordinators of a cluster that has some. */
const coordinatorCounts = [2, 3] as const;

/** How many group coordinators a seed has, where controllers are apart: mostly none. */
const coordinatorsOf = (seed: number, groups: boolean | undefined): number => {
  const random = new SeededRandom(seed ^ 0x1f83d9ab);
  const hasSome = random.chance(2 / 3);
  return (groups ?? hasSome) ? random.pick(coordinatorCounts) : 0;
};

const layoutOf = (seed: number): Layout =>
  new SeededRandom(seed ^ 0x51ed270b).chance(0.5) ? "apart" : "together";

/** One run of a cluster. As `run` otherwise. */
export const runCluster = async (seed: number, options: ClusterOptions): Promise<RunReport> => {
  const { brokers, groups, onTrace } = options;
  const { layout = groups === true ? "apart" : layoutOf(seed) } = options;
  const isApart = layout === "apart";
  const cluster = new Cluster(seed, brokers, isApart, isApart ? coordinatorsOf(seed, groups) : 0);
  const { kernel } = cluster;
  if (onTrace !== undefined) kernel.onTrace = onTrace;
  kernel.marks.sometimes(`layout: ${layout}`);
  try {
    const { acked, read } = await simulate(cluster, seed);
    return {
      ...{ traceHash: kernel.traceHash, events: kernel.events, simulatedMs: kernel.nowMs },
      ...{ acked: acked.size, read: read.size, marks: kernel.marks.reached },
    };
  } catch (thrown) {
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    const where = `seed ${seed}, step ${kernel.events}, ${kernel.nowMs.toFixed(3)} ms`;
    throw new Error(`${where}: ${text}`, { cause: thrown });
  }
};

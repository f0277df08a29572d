/** One run: load, faults, healing, and the check. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@millrace/client";
import { check, type FinalLog, type Verdict, type Violation } from "./checker.ts";
import { follow, produce, readAll } from "./clients.ts";
import { ChaosCluster, topic } from "./cluster.ts";
import { carryOut } from "./faults.ts";
import { type GroupCounts, GroupRun } from "./groups/group-run.ts";
import { type FaultKind, isLinkKind, isRoomKind, planOf } from "./plan.ts";
import { checkReplicas } from "./replicas.ts";
import type { RunLog } from "./run-log.ts";
import { watch } from "./watch.ts";

export interface RunOptions {
  readonly directory: string;
  readonly seed: number;
  /** How long faults go on. */
  readonly minutes: number;
  /** Kinds of faults that this machine has. */
  readonly kinds: readonly FaultKind[];
}

export interface Outcome extends Verdict {
  /** Absent when the run did not get so far. */
  readonly groups?: GroupCounts;
  /** When the producers stopped, ms since the start. */
  readonly loadEndMs: number;
}

const producers = 3;
const groupCoordinators = 3;
/** Load without faults at the start and at the end, ms. */
const calmMs = 3000;
/** Longest wait for a whole cluster between two faults, and in the end, ms. */
const shortHealMs = 30_000;
const lastHealMs = 120_000;
/** Longest wait for sends to have an outcome, and for the consumer to get to the end, ms. */
const settleMs = 90_000;

const messageOf = (thrown: unknown): string =>
  thrown instanceof Error ? thrown.message : String(thrown);

const disturb = async (
  cluster: ChaosCluster,
  { kinds, minutes, seed }: RunOptions,
  log: RunLog,
  signal: AbortSignal,
): Promise<void> => {
  const endMs = log.nowMs + minutes * 60_000;
  for (const step of planOf(seed, kinds)) {
    if (log.nowMs >= endMs || signal.aborted) return;
    try {
      await carryOut(cluster, step, log.tell, signal);
    } catch (thrown) {
      log.tell({ kind: "note", text: `${step.kind} failed: ${messageOf(thrown)}` });
    }
    if (step.heals) {
      const missing = await cluster.untilWhole(shortHealMs);
      const text = missing === undefined ? "whole" : `not whole: ${missing}`;
      log.tell({ kind: "note", text });
    }
    await sleep(step.quietMs);
  }
};

/** Whether the following consumer has been given the last record of every partition. */
const hasCaughtUp = (log: RunLog, final: FinalLog): boolean => {
  const ends = new Map<number, number>();
  for (const event of log.events) {
    if (event.kind === "read") ends.set(event.partition, event.offset + 1);
  }
  return [...final].every(([partition, records]) => (ends.get(partition) ?? 0) >= records.size);
};

const until = async (holds: () => boolean, ms: number): Promise<boolean> => {
  const endMs = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > endMs) return false;
    await sleep(100);
  }
  return true;
};

/** Everything that runs beside the faults. */
class Load {
  readonly #stopProducers = new AbortController();
  readonly #stopOthers = new AbortController();
  readonly #violations: Violation[];
  readonly #clients: readonly Client[];
  readonly #others: Promise<unknown>;
  #hasOutcomes = false;

  constructor(cluster: ChaosCluster, clients: readonly Client[], seed: number, log: RunLog) {
    const violations: Violation[] = [];
    const failed = (who: string) => (thrown: unknown) => {
      violations.push({ promise: "progress", text: `${who} failed: ${messageOf(thrown)}` });
    };
    const { signal } = this.#stopOthers;
    const [reader, ...writers] = clients;
    this.#violations = violations;
    this.#clients = clients;
    const sending = writers.map((client, i) =>
      produce(client, i + 1, seed, log.tell, this.#stopProducers.signal),
    );
    void Promise.all(sending)
      .catch(failed("a producer"))
      .finally(() => {
        this.#hasOutcomes = true;
      });
    this.#others = Promise.all([
      reader && follow(reader, log.tell, signal).catch(failed("the consumer")),
      watch(cluster, log, signal),
    ]);
  }

  /** What went wrong so far. */
  get violations(): readonly Violation[] {
    return this.#violations;
  }

  /** Ends the sends, and waits for their outcomes. */
  async stopProducers(): Promise<void> {
    this.#stopProducers.abort();
    if (await until(() => this.#hasOutcomes, settleMs)) return;
    const text = `sends have no outcome ${settleMs} ms after the last one`;
    this.#violations.push({ promise: "progress", text });
  }

  async close(): Promise<void> {
    this.#stopProducers.abort();
    this.#stopOthers.abort();
    await this.#others;
    await Promise.all(this.#clients.map((client) => client.close()));
  }
}

/** Heals, drains, and checks. */
const conclude = async (
  cluster: ChaosCluster,
  load: Load,
  members: GroupRun,
  log: RunLog,
): Promise<Outcome> => {
  const violations: Violation[] = [];
  const missing = await cluster.untilWhole(lastHealMs);
  if (missing !== undefined) {
    const text = `not whole ${lastHealMs} ms after the last fault: ${missing}`;
    violations.push({ promise: "progress", text });
  }
  log.tell({ kind: "note", text: "the faults are over" });
  await sleep(calmMs);
  const loadEndMs = log.nowMs;
  await load.stopProducers();
  const client = await cluster.connect();
  try {
    const final = await readAll(client);
    if (!(await until(() => hasCaughtUp(log, final), settleMs))) {
      const text = `the consumer is not at the end ${settleMs} ms after the last send`;
      violations.push({ promise: "progress", text });
    }
    const groups = await members.conclude(final);
    const verdict = check(log.events, final);
    const found = [...verdict.violations, ...groups.violations];
    const all = [...violations, ...load.violations, ...found];
    return { ...verdict, violations: all, loadEndMs, groups };
  } catch (thrown) {
    const text = `the topic cannot be read: ${messageOf(thrown)}`;
    const all = [...violations, ...load.violations, { promise: "progress", text } as const];
    return { violations: all, lost: 0, duplicated: 0, loadEndMs };
  } finally {
    await client.close();
  }
};

/** Starts the cluster, and stops it whatever happens. */
const runOn = async (
  cluster: ChaosCluster,
  options: RunOptions,
  log: RunLog,
  signal: AbortSignal,
): Promise<Outcome> => {
  try {
    await cluster.start();
    const clients = await Promise.all(
      Array.from({ length: producers + 1 }, () => cluster.connect()),
    );
    const load = new Load(cluster, clients, options.seed, log);
    const at = { directory: cluster.directory, bootstrap: cluster.bootstrap, topic };
    const members = new GroupRun(await cluster.connect(), at, options.seed, log.tell);
    try {
      await sleep(calmMs);
      await disturb(cluster, options, log, signal);
      return await conclude(cluster, load, members, log);
    } finally {
      await members.close();
      await load.close();
    }
  } finally {
    await cluster.stop();
  }
};

/** An abort ends the faults early; everything else goes on to its end. */
export const run = async (
  options: RunOptions,
  log: RunLog,
  signal: AbortSignal,
): Promise<Outcome> => {
  const own = {
    network: options.kinds.some(isLinkKind),
    disks: options.kinds.some(isRoomKind),
  };
  const cluster = new ChaosCluster(options.directory, own, groupCoordinators);
  const outcome = await runOn(cluster, options, log, signal);
  const stopped = checkReplicas(cluster.brokerDirectories);
  cluster.unmount();
  return { ...outcome, violations: [...outcome.violations, ...stopped] };
};

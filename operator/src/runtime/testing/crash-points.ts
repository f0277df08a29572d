/**
 * Runs a scenario against the API server of the tests, in virtual time: with faults from a seed, or
 * with the operator's process killed right before or right after one of its writes.
 */
import { type Clock, type Logger, type Random, silentLogger } from "@millrace/env";
import { Incarnation, Kernel } from "@millrace/sim";
import { canonical } from "../json.ts";
import type { KubernetesApi } from "../kubernetes.ts";
import { FakeConnection } from "./fake-api/connection.ts";
import { type Fault, type Faults, noFaults } from "./fake-api/faults.ts";
import { FakeServer, type Write } from "./fake-api/server.ts";

/** One life of the operator's process. */
export interface Process {
  /** Another one in every life. */
  readonly identity: string;
  readonly api: KubernetesApi;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Ends this life; another one begins a moment later. */
  exit(): void;
}

export interface Scenario {
  /** Begins a life. What it leaves running ends with the process. */
  start(process: Process): void;
  /** What people do meanwhile, by their clock, in virtual time. */
  drive(
    server: FakeServer,
    sleep: (ms: number) => Promise<void>,
    clock: Pick<Clock, "wallMs">,
  ): Promise<void>;
  /** Whether everything is as it should be in the end. */
  isDone(server: FakeServer): boolean;
  /** Throws where something must never be so. Asked after every write of anybody. */
  check(server: FakeServer, write: Write): void;
  /** What has to be the same however the operator was disturbed. */
  state(server: FakeServer): unknown;
}

export interface Crash {
  /** Counts from 0, over all lives. */
  readonly write: number;
  readonly when: "before" | "after";
}

export interface RunOptions {
  readonly seed: number;
  readonly faults?: Faults;
  readonly crash?: Crash;
  /** How long it is left alone in the end, milliseconds: longer than from one list to the next. */
  readonly steadyMs?: number;
}

export interface Run {
  /** Writes of the operator that reached the server until everything was done. */
  readonly writes: number;
  /** Writes while nothing happened any more; leases are renewed for ever and do not count. */
  readonly steadyWrites: readonly Write[];
  readonly state: unknown;
  /** How often each fault happened. */
  readonly faults: ReadonlyMap<Fault, number>;
}

/** A process that has ended begins anew after that. */
const restartMs = 1000;

const isNoise = ({ kind, manager }: Write): boolean =>
  kind.startsWith("leases.") || manager === "garbage-collector";

export const runScenario = async (scenario: Scenario, options: RunOptions): Promise<Run> => {
  const { seed, crash, steadyMs = 150_000 } = options;
  const kernel = new Kernel(seed);
  const clock = new Incarnation(kernel, "people").clock();
  const server = new FakeServer(
    () => clock.wallMs(),
    (run) => void kernel.schedule(20, run, "server"),
  );
  let failure: unknown;
  server.onWrite = (write) => {
    try {
      scenario.check(server, write);
    } catch (error) {
      failure ??= error;
    }
  };
  let faults = options.faults ?? noFaults;
  const happened = new Map<Fault, number>();
  let writes = 0;
  let lives = 0;
  const begin = (): void => {
    lives += 1;
    const life = new Incarnation(kernel, `operator ${lives}`);
    const kill = (): void => {
      if (!life.alive) return;
      life.kill();
      kernel.schedule(restartMs, begin, "restart");
    };
    const api = new FakeConnection({
      ...{ server, kernel, life },
      faults: () => faults,
      onFault: (fault) => void happened.set(fault, (happened.get(fault) ?? 0) + 1),
      beforeWrite: () => {
        const isNow = crash?.when === "before" && crash.write === writes;
        writes += 1;
        if (isNow) kill();
        return !isNow;
      },
      afterWrite: () => {
        if (crash?.when === "after" && crash.write === writes - 1) kill();
      },
    });
    const identity = `operator-${lives}`;
    const process = { identity, api, clock: life.clock(), random: kernel.random };
    scenario.start({ ...process, logger: silentLogger, exit: kill });
  };
  begin();
  await kernel.run(scenario.drive(server, (ms) => clock.sleep(ms), clock));
  faults = noFaults;
  const isOver = (): boolean => failure !== undefined || scenario.isDone(server);
  await kernel.runUntil(isOver);
  const done = writes;
  // What was on its way when it was done lands before the silence is measured, and caches that were
  // misled are put right by the next list: a watch that stands still ends after five minutes.
  await kernel.run(clock.sleep(options.faults === undefined ? 10_000 : 450_000));
  const before = server.writes.length;
  await kernel.run(clock.sleep(steadyMs));
  if (failure !== undefined) throw failure;
  const steadyWrites = server.writes.slice(before).filter((write) => !isNoise(write));
  return { writes: done, steadyWrites, state: scenario.state(server), faults: happened };
};

/** The parts of a state: those of a list, so that an error shows only what differs. */
const partsOf = (state: unknown): readonly string[] =>
  (Array.isArray(state) ? state : [state]).map((part) => canonical(part));

const without = (parts: readonly string[], others: readonly string[]): string =>
  parts.filter((part) => !others.includes(part)).join("\n") || "nothing";

const sameAs = (expected: Run, run: Run, what: string): void => {
  if (canonical(run.state) !== canonical(expected.state)) {
    const [is, was] = [partsOf(run.state), partsOf(expected.state)];
    const states = `${without(is, was)}\ninstead of\n${without(was, is)}`;
    throw new Error(`${what} ends in another state:\n${states}`);
  }
  const [write] = run.steadyWrites;
  if (write !== undefined) throw new Error(`${what}: not steady: ${canonical(write)}`);
};

const named = async (what: string, run: () => Promise<Run>): Promise<Run> => {
  try {
    return await run();
  } catch (error) {
    throw new Error(`${what}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
};

/**
 * Kills the process before and after each of its writes, or of `every` so many, a run each, and
 * compares the final state with that of a run in peace. Returns how many writes there were.
 */
export const crashAtEveryWrite = async (
  scenario: Scenario,
  seed: number,
  every = 1,
): Promise<number> => {
  const peace = await named("in peace", () => runScenario(scenario, { seed }));
  sameAs(peace, peace, "in peace");
  for (let write = seed % every; write < peace.writes; write += every) {
    for (const when of ["before", "after"] as const) {
      const what = `seed ${seed}, killed ${when} write ${write}`;
      const run = () => runScenario(scenario, { seed, crash: { write, when } });
      sameAs(peace, await named(what, run), what);
    }
  }
  return peace.writes;
};

/**
 * Runs with faults from each seed, and in every other of them kills the process at one of its
 * writes. Compares the final state with that of a run in peace. Returns how often each fault was.
 */
export const survivesFaults = async (
  scenario: Scenario,
  faults: Faults,
  seeds: readonly number[],
): Promise<ReadonlyMap<Fault, number>> => {
  const peace = await named("in peace", () => runScenario(scenario, { seed: 0 }));
  const happened = new Map<Fault, number>();
  for (const seed of seeds) {
    const when = seed % 4 === 1 ? "before" : "after";
    const crash = seed % 2 === 0 ? {} : { crash: { write: seed % peace.writes, when } as const };
    const what = `seed ${seed}`;
    const run = await named(what, () => runScenario(scenario, { seed, faults, ...crash }));
    sameAs(peace, run, what);
    for (const [fault, times] of run.faults) {
      happened.set(fault, (happened.get(fault) ?? 0) + times);
    }
  }
  return happened;
};

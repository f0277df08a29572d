/**
 * One run under a seed: a broker, producers and a consumer that reads along, while processes and
 * machines crash and the network misbehaves. In the end everything that was promised is there.
 */
import { SeededRandom } from "@millrace/sim";
import { check, finalLog, follow, History, makeTopic, produce } from "./history.ts";
import { Race } from "./race.ts";
import { World } from "./world.ts";

/** What a run did. */
export interface RunReport {
  readonly traceHash: number;
  readonly events: number;
  readonly simulatedMs: number;
  readonly acked: number;
  readonly read: number;
  readonly marks: ReadonlyMap<string, number>;
}

/** Crashes the broker, and starts it again. */
const crash = async (world: World, random: SeededRandom, working: () => boolean): Promise<void> => {
  while (working()) {
    await world.sleep(100 + random.float() * 2000);
    if (!working()) return;
    world.crash(random.chance(0.6) ? "power" : "process");
    await world.sleep(random.float() * 500);
    // A second crash may hit the recovery.
    const booting = world.boot();
    if (random.chance(0.3)) {
      await world.sleep(random.float() * 20);
      world.crash("power");
      await world.boot();
    } else await booting;
  }
};

const simulate = async (world: World, seed: number): Promise<History> => {
  const { kernel } = world;
  const random = new SeededRandom(seed ^ 0x68bc21eb);
  await kernel.run(world.boot());
  const admin = world.client("admin");
  const configs = { "segment.bytes": "4096", "index.interval.bytes": "256" };
  await kernel.run(makeTopic(admin, configs));
  const history = new History(kernel.marks);
  const sleep = (ms: number): Promise<void> => world.sleep(ms);
  const { marks } = kernel;
  const race = new Race(seed, { marks, client: (name) => world.client(name), sleep });
  await kernel.run(race.begin(configs));
  let working = true;
  const failures: unknown[] = [];
  const stop = new AbortController();
  const readers = follow(world.client("reader"), history, stop.signal).catch((thrown: unknown) => {
    failures.push(thrown);
  });
  const writers = Promise.all([
    ...[1, 2].map((producer) =>
      produce(world.client(`w${producer}`), producer, history, random, sleep),
    ),
    race.run(),
  ])
    .catch((thrown: unknown) => failures.push(thrown))
    .finally(() => {
      working = false;
    });
  const isWorking = (): boolean => working;
  const trouble = Promise.all([crash(world, random, isWorking), world.disturb(isWorking)]);
  await kernel.run(writers);
  world.heal();
  await kernel.run(trouble);
  const found = await kernel.run(finalLog(world.client("checker")));
  stop.abort();
  await kernel.run(readers);
  if (failures.length > 0) throw failures[0];
  check(history, found, world.disturbedMs);
  await kernel.run(race.finish());
  kernel.trace([...found].join());
  return history;
};

/**
 * One run. `onTrace` gets every line of its trace. A failure names the seed and the step at which
 * it was seen.
 */
export const run = async (seed: number, onTrace?: (line: string) => void): Promise<RunReport> => {
  const world = new World(seed);
  const { kernel } = world;
  if (onTrace !== undefined) kernel.onTrace = onTrace;
  try {
    const { acked, read } = await simulate(world, seed);
    return {
      traceHash: kernel.traceHash,
      events: kernel.events,
      simulatedMs: kernel.nowMs,
      acked: acked.size,
      read: read.size,
      marks: kernel.marks.reached,
    };
  } catch (thrown) {
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    const where = `seed ${seed}, step ${kernel.events}, ${kernel.nowMs.toFixed(3)} ms`;
    throw new Error(`${where}: ${text}`, { cause: thrown });
  }
};

/**
 * No work on a log holds the event loop for long, however small its batches are and however many
 * partitions there are: it pauses after so many of them.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Env, silentLogger } from "@millrace/env";
import { nodeClock } from "@millrace/env/node";
import { must } from "@millrace/errors";
import { Incarnation, Kernel, SimDisk } from "@millrace/sim";
import type { AppendBatch, PartitionLog } from "../api.ts";
import { Pace } from "../files/breathe.ts";
import { paths } from "../files/paths.ts";
import { encodeRound } from "../journal/format.ts";
import { journalFileName } from "../journal/journal.ts";
import { scanJournal } from "../journal/scan.ts";
import { newestSnapshot, writeSnapshot } from "../partition/producer-snapshots.ts";
import type { ProducerState } from "../partition/producer-state.ts";
import { ProducerTable, producersMax, producersPerTurn } from "../partition/producer-table.ts";
import { appendAll, batchOf, PauseCounter, topicA } from "../testing.ts";
import { type Simulation, simulate } from "../testing-sim.ts";

/** Small batches: all of them are in one read ahead. */
const batches = 6000;

const small = (from: number, count: number): AppendBatch[] =>
  Array.from({ length: count }, (_, i) =>
    batchOf([{ value: "" }], { producerId: 7, producerEpoch: 0, baseSequence: from + i }),
  );

const filled = async (log: PartitionLog): Promise<PartitionLog> => {
  await log.becomeLeader(1);
  for (let from = 0; from < batches; from += 1000) await appendAll(log, small(from, 1000));
  return log;
};

/** Asks for a pause for each `perTurn` things that `work` goes through. */
const pausesAtLeast = async (
  { pauses }: Pick<Simulation, "pauses">,
  most: number,
  what: string,
  work: () => Promise<unknown>,
): Promise<void> => {
  const counted = await pauses.of(work);
  assert.ok(counted.pauses >= most, `${what}: ${counted.pauses} pauses`);
};

test("walks through a segment of small batches pause", async () => {
  await simulate({}, async (simulation) => {
    const { disk, start } = simulation;
    const first = await start();
    const log = await filled(await first.log());
    await log.flush();
    await pausesAtLeast(simulation, 11, "a read", () => log.read(0, 1e6, "log_end"));
    await log.advanceLogStart(1);
    await pausesAtLeast(simulation, 20, "the largest time", () => log.maxTimestamp());
    await pausesAtLeast(simulation, 20, "producers", () => log.truncateTo(batches - 1));
    await first.manager.close(true);
    first.die("process");
    const again = await (await start()).log();
    disk.fault = (op, path) => (op === "read" && /index$/.test(path) ? "EIO" : undefined);
    await pausesAtLeast(simulation, 20, "an index", () => again.read(batches / 2, 1, "log_end"));
  });
});

test("reading the journal pauses between entries", async () => {
  await simulate({}, async ({ disk, kernel, start }) => {
    const first = await start();
    await filled(await first.log());
    first.die("process");
    const [name = ""] = disk.paths().filter((path) => path.endsWith(".journal"));
    const directoryId = disk.content(name)?.subarray(8, 24) ?? Buffer.alloc(16);
    const reading = new Incarnation(kernel);
    const pauses = new PauseCounter();
    const scan = () =>
      scanJournal(pauses.clock(reading.clock()), disk.mount(reading), directoryId, 0);
    // Each is checked, and handed out to its partition.
    await pausesAtLeast({ pauses }, 8, "a scan", scan);
    const covered = () =>
      scanJournal(pauses.clock(reading.clock()), disk.mount(reading), directoryId, 1e6);
    await pausesAtLeast({ pauses }, 3, "a scan of what the recovery points cover", covered);
  });
});

test("reading one long round of the journal pauses between its entries", async () => {
  const directoryId = Buffer.alloc(16, 1);
  const change = { kind: "logStart", topicId: topicA, partition: 0, payload: [] } as const;
  const entries = Array.from({ length: 20_000 }, (_, offset) => ({
    ...change,
    offset,
    payloadBytes: 0,
  }));
  const file = Buffer.concat(encodeRound(directoryId, 1, 0, entries));
  const kernel = new Kernel(1);
  const process = new Incarnation(kernel);
  const files = new Map([[journalFileName(0), file]]);
  const disk = SimDisk.of({ files, directories: [".", paths.journal] }, kernel.random);
  const pauses = new PauseCounter();
  const scan = () =>
    scanJournal(pauses.clock(process.clock()), disk.mount(process), directoryId, 1);
  await kernel.run(pausesAtLeast({ pauses }, 5, "a scan", scan));
});

test("copying a table pauses, and begins anew where the other one is cut meanwhile", async () => {
  const [table, copy] = [new ProducerTable(), new ProducerTable()];
  const { info } = batchOf([{ value: "" }], { producerId: 0, producerEpoch: 3, baseSequence: 7 });
  for (let id = 0; id < 30_000; id += 1) table.record({ ...info, producerId: id }, id, 1);
  const pauses = new PauseCounter();
  const pace = new Pace(pauses.clock(nodeClock()), producersPerTurn);
  await pausesAtLeast({ pauses }, 3, "a table", async () => {
    const copying = copy.copyFrom(table, pace);
    table.trim(20_000);
    await copying;
  });
  const entries = table.entries();
  assert.equal(copy.size, 20_000);
  assert.ok(copy.entries().every((producer, at) => producer === entries[at]));
});

test("forgetting the sequences of many producers pauses between them", async () => {
  const table = new ProducerTable();
  const { info } = batchOf([{ value: "" }], { producerId: 0, producerEpoch: 3, baseSequence: 7 });
  for (let id = 0; id < 30_000; id += 1) table.record({ ...info, producerId: id }, id, 1);
  const pauses = new PauseCounter();
  const pace = new Pace(pauses.clock(nodeClock()), producersPerTurn);
  await pausesAtLeast({ pauses }, 3, "a table", () => table.forgetSequences(pace));
  for (const [at, { batches, epoch, id }] of table.entries().entries()) {
    assert.deepEqual([batches, epoch, id], [[], 3, at]);
  }
});

test("a snapshot of producers that was read waits for a turn of its own", async () => {
  await simulate({}, async ({ disk, kernel }) => {
    const life = new Incarnation(kernel);
    const pauses = new PauseCounter();
    const env = { clock: pauses.clock(life.clock()), disk: disk.mount(life), logger: silentLogger };
    await env.disk.makeDirectory("p");
    await writeSnapshot(env.clock, env.disk, "p", { offset: 3, entries: [] });
    const found = await pauses.of(() => newestSnapshot(env as unknown as Env, "p", 3));
    assert.deepEqual(found, { result: { offset: 3, entries: [] }, pauses: 1 });
  });
});

test("recovery pauses between entries of the journal", async () => {
  // The segments have nothing.
  await simulate({ manager: { writeLingerMs: 1e6 } }, async (simulation) => {
    const { start } = simulation;
    const first = await start();
    await filled(await first.log());
    first.die("process");
    await pausesAtLeast(simulation, 50, "recovery", start);
  });
});

test("recovery pauses between batches that only a segment has", async () => {
  await simulate({ log: { flushPolicy: "none" } }, async (simulation) => {
    const { sleep, start } = simulation;
    const first = await start();
    await filled(await first.log());
    await sleep(1000);
    first.die("process");
    await pausesAtLeast(simulation, 20, "recovery", start);
  });
});

test("a checkpoint and retention pause between partitions", async () => {
  const manager = { retentionCheckIntervalMs: 1e6 };
  await simulate({ manager }, async (simulation) => {
    const { sleep, start } = simulation;
    const { log: logOf } = await start();
    const log = await logOf();
    for (let i = 1; i < 1100; i += 1) await logOf(i);
    await log.becomeLeader(1);
    await pausesAtLeast(simulation, 7, "a checkpoint", () => log.flush());
    await pausesAtLeast(simulation, 17, "retention", () => sleep(1.1e6));
  });
});

test("a checkpoint pauses between partitions with many producers", async () => {
  await simulate({}, async (simulation) => {
    const { log: logOf } = await simulation.start();
    const logs = await Promise.all([0, 1, 2, 3, 4].map((i) => logOf(i)));
    const of = (producerId: number) => ({ producerId, producerEpoch: 0, baseSequence: 0 });
    const one = batchOf([{ value: "" }], of(0));
    for (const log of logs) {
      await log.becomeLeader(1);
      const { producers } = log as unknown as { producers: ProducerState };
      for (let id = 1; id < producersMax; id += 1) {
        producers.completed.record({ ...one.info, producerId: id }, 0, 1);
      }
      await appendAll(log, [one]);
    }
    // Their snapshots are encoded in steps of 1,024 producers, each of which has a batch.
    const encoding = (5 * 2 * producersMax) / 1024;
    await pausesAtLeast(simulation, encoding + 5, "a checkpoint", () =>
      must(logs[0], "log").flush(),
    );
  });
});

test("a search by time pauses between the records of a batch", async () => {
  await simulate({}, async (simulation) => {
    const log = await (await simulation.start()).log();
    await log.becomeLeader(1);
    const records = Array.from({ length: 20_000 }, (_, i) => ({ value: "", timestampMs: i }));
    await appendAll(log, [batchOf(records)]);
    const found = () => log.offsetForTimestamp(19_000);
    await pausesAtLeast(simulation, 4, "the offset of a time", found);
    await log.advanceLogStart(1);
    await pausesAtLeast(simulation, 8, "the largest time", () => log.maxTimestamp());
  });
});

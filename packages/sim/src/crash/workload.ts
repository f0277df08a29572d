/**
 * A random workload on one life of a process: what clients, brokers, operators and the disk do to a
 * log.
 */
import type { LogManager, PartitionLog } from "@millrace/log";
import { appendSomething } from "./appends.ts";
import * as control from "./control.ts";
import { Life } from "./life.ts";
import { PartitionModel } from "./model.ts";
import { readSomething, timeSomething } from "./reads.ts";
import type { CrashRun, Slot } from "./run.ts";
import { causeTrouble, troublesOf } from "./trouble.ts";
import { Violation } from "./violation.ts";

export const begin = (run: CrashRun, manager: LogManager): Life =>
  new Life(run, manager, troublesOf(run, run.random));

/** Makes a partition, the second life of one before it perhaps. */
const create = async (life: Life, slot: Slot): Promise<void> => {
  slot.lives += 1;
  const model = new PartitionModel(`${slot.topic}-${slot.partition} (life ${slot.lives})`);
  slot.model = model;
  model.compacted = slot.compacted;
  model.tombstonesGo = slot.config.deleteRetentionMs < 1e9;
  slot.configs = [slot.config];
  life.tell(model, `create ${JSON.stringify(slot.config)}`);
  const { topicId, topic, partition, config } = slot;
  try {
    const log = await life.manager.create(topicId, topic, partition, config);
    if (log.logEndOffset !== 0) {
      throw new Violation(`${model.name}: is made with ${log.logEndOffset} offsets in it`);
    }
    model.created = true;
    slot.lifeUnknown = false;
    slot.log = log;
    await control.lead(life, slot, log, model);
  } catch (thrown) {
    life.judge(slot, model, "create", thrown);
  }
};

/** Takes up the partition of a slot, or makes one. */
const adopt = async (life: Life, slot: Slot): Promise<void> => {
  if (slot.model === undefined) {
    if (slot.lives === 0 || life.random.chance(0.7)) await create(life, slot);
    return;
  }
  slot.log = life.manager.get(slot.topicId, slot.partition);
  const { log } = slot;
  if (log?.state.kind === "online") await control.lead(life, slot, log, slot.model);
};

/**
 * A flush while appends arrive, and another once nothing does: the second finds only what the first
 * left over.
 */
const flushTwice = async (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
): Promise<void> => {
  appendSomething(life, slot, log, model);
  await life.sleep(life.random.float() * 2);
  life.later(control.flush(life, slot, log, model));
  for (let i = life.random.below(4); i >= 0; i -= 1) {
    appendSomething(life, slot, log, model);
    await life.sleep(life.random.float());
  }
  await life.sleep(life.random.pick([3, 15]));
  if (slot.model === model) await control.flush(life, slot, log, model);
};

const read = (life: Life, reading: Promise<void>): void => {
  life.later(life.within(15_000, "a read", reading));
};

const operation = async (life: Life, slot: Slot): Promise<void> => {
  const { random } = life;
  const { log, model } = slot;
  if (life.troubles.length > 0 && random.chance(0.06)) {
    causeTrouble(life, random.pick(life.troubles));
  }
  if (model === undefined) {
    if (random.chance(0.3)) await create(life, slot);
    return;
  }
  if (log === undefined || model.deleting) return;
  if (log.state.kind === "offline") {
    if (random.chance(0.1)) await life.control(control.remove(life, slot, log, model));
    return;
  }
  const dice = random.below(100);
  if (slot.compacted && random.chance(0.12)) {
    await life.control(control.compact(life, slot, log, model));
    return;
  }
  if (dice < 48) appendSomething(life, slot, log, model);
  else if (dice < 56) await life.sleep(random.float() * random.pick([1, 1, 5, 60]));
  else if (dice < 60) await life.idle();
  else if (dice < 68) control.raiseHighWatermark(life, log, model);
  else if (dice < 76) read(life, readSomething(life, slot, log, model));
  else if (dice < 79) read(life, timeSomething(life, slot, log, model));
  else if (dice < 81) await life.control(control.flush(life, slot, log, model));
  else if (dice < 82) await flushTwice(life, slot, log, model);
  else if (dice < 86) {
    const change = life.run.on.reset && random.chance(0.3) ? control.reset : control.truncate;
    await life.control(change(life, slot, log, model));
  } else if (dice < 89) await life.control(control.deleteRecords(life, slot, log, model));
  else if (dice < 92) await life.control(control.lead(life, slot, log, model));
  else if (dice < 95) await life.control(control.retain(life, slot, log, model));
  else if (dice < 98) control.reconfigure(life, slot, log, model);
  else await life.control(control.remove(life, slot, log, model));
};

/** Issues operations. Resolves early once the directory takes no more writes. */
export const work = async (life: Life, operations: number): Promise<void> => {
  for (const slot of life.run.slots) await adopt(life, slot);
  for (let i = 0; i < operations && !life.stopped; i += 1) {
    const slot = life.random.pick(life.run.slots);
    await operation(life, slot);
    for (const each of life.run.slots) life.check(each);
  }
};

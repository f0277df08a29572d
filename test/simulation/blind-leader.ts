/**
 * A leader that cannot see that a follower has joined its in-sync replicas, and dies: what it
 * acknowledged since must be on that follower, which is elected.
 */
import { decodeRecord, keys } from "@millrace/metadata";
import type { BrokerMachine } from "./broker-machine.ts";
import type { Disturbance, Scene } from "./scene.ts";

/** Longest wait for each step, ms. With a store that it cannot reach a leader has ten seconds. */
const stepMsMax = { begins: 5_000, leaves: 12_000, joins: 6_000 } as const;
/** How often the record is looked at, ms. */
const lookMs = 20;

/** A partition, and two of its replicas. */
interface Cast {
  readonly key: string;
  readonly leader: BrokerMachine;
  /** The next one to be elected. */
  readonly joiner: BrokerMachine;
}

const nothing: Disturbance = { end: () => {} };

/** Those of a partition with two followers in sync, both of which have their controller. */
const cast = async ({ brokers, controllers, random, store }: Scene): Promise<Cast | undefined> => {
  const [kv] = (await store.data.range({ key: keys.controller })).kvs;
  if (kv === undefined) return undefined;
  const active = controllers.length > 0 ? undefined : decodeRecord.controller(kv).controllerId;
  const found = (await store.data.range({ prefix: keys.partitions })).kvs.flatMap((one) => {
    const { isr, leader: leaderId, replicas } = decodeRecord.partition(one);
    const joinerId = replicas.find((id) => id !== leaderId);
    const leader = brokers.find(({ brokerId }) => brokerId === leaderId);
    const joiner = brokers.find(({ brokerId }) => brokerId === joinerId);
    if (leader === undefined || joiner === undefined || isr.length < 3) return [];
    return leaderId === active || joinerId === active ? [] : [{ key: one.key, leader, joiner }];
  });
  return found.length === 0 ? undefined : random.pick(found);
};

/** Runs until the leader is dead. The end starts it again. */
export const blindLeader = async (scene: Scene): Promise<Disturbance> => {
  const { kernel, network, random, sleep, store } = scene;
  const within = async <T>(ms: number, look: () => Promise<T>): Promise<T> => {
    const endMs = kernel.nowMs + ms;
    for (;;) {
      const value = await look();
      if (value !== undefined && value !== false) return value;
      if (kernel.nowMs >= endMs) return value;
      await sleep(lookMs);
    }
  };
  const chosen = await within(stepMsMax.begins, () => cast(scene));
  if (chosen === undefined) return nothing;
  const { joiner, key, leader } = chosen;
  const isInSync = async (): Promise<boolean> => {
    const { kvs } = await store.data.range({ key });
    return kvs.some((kv) => decodeRecord.partition(kv).isr.includes(joiner.brokerId));
  };
  network.partition(leader.host, joiner.host);
  const hasLeft = await within(stepMsMax.leaves, async () => !(await isInSync()));
  leader.trouble.isCut = hasLeft;
  network.heal(leader.host, joiner.host);
  if (hasLeft && (await within(stepMsMax.joins, isInSync))) {
    kernel.marks.sometimes("store: a leader does not see who joins");
    network.stall(leader.host, joiner.host);
    await sleep(200 + random.float() * 800);
    if (leader.isRunning) leader.crash("power");
    network.heal(leader.host, joiner.host);
  }
  leader.trouble.isCut = false;
  return { end: () => (leader.isRunning ? undefined : leader.start()) };
};

/**
 * A leader that cannot see that a follower has joined its in-sync replicas, and dies: what it
 * acknowledged since must be on that follower, which is elected.
 */
import { decodeRecord, keys } from "@millrace/metadata";
import type { PartitionRecord } from "@millrace/proto/storage";
import type { Disturbance, Scene } from "./disturbances.ts";

/** Longer than a follower may lag behind, ms. */
const lagMs = 6_000;
/** Longest wait until the follower has joined again, ms. */
const joinMsMax = 6_000;
/** How often that is looked at, ms. */
const lookMs = 20;

const nothing: Disturbance = { end: () => {} };

const recordOf = async ({ store }: Scene, key: string): Promise<PartitionRecord | undefined> => {
  const [kv] = (await store.data.range({ key })).kvs;
  return kv && decodeRecord.partition(kv);
};

/** A partition with two followers or more in sync, and its key. */
const pick = async ({ random, store }: Scene) => {
  const { kvs } = await store.data.range({ prefix: keys.partitions });
  const found = kvs
    .map((kv) => ({ key: kv.key, record: decodeRecord.partition(kv) }))
    .filter(({ record }) => record.leader !== undefined && record.isr.length > 2);
  return found.length === 0 ? undefined : random.pick(found);
};

/** Runs until the leader is dead. The end starts it again. */
export const blindLeader = async (scene: Scene): Promise<Disturbance> => {
  const { brokers, kernel, network, random, sleep } = scene;
  const { key, record } = (await pick(scene)) ?? {};
  const leader = brokers.find(({ brokerId }) => brokerId === record?.leader);
  // The next one to be elected.
  const joinerId = record?.replicas.find((id) => id !== leader?.brokerId);
  const joiner = brokers.find(({ brokerId }) => brokerId === joinerId);
  if (key === undefined || leader === undefined || joiner === undefined) return nothing;
  const isInSync = async (): Promise<boolean> =>
    (await recordOf(scene, key))?.isr.includes(joiner.brokerId) === true;
  const heal = (): void => network.heal(leader.host, joiner.host);
  network.partition(leader.host, joiner.host);
  await sleep(lagMs);
  const hasLeft = !(await isInSync());
  leader.trouble.isCut = hasLeft;
  heal();
  const endMs = kernel.nowMs + joinMsMax;
  while (hasLeft && kernel.nowMs < endMs && !(await isInSync())) await sleep(lookMs);
  if (!hasLeft || !(await isInSync())) {
    leader.trouble.isCut = false;
    return nothing;
  }
  kernel.marks.sometimes("store: a leader does not see who joins");
  network.stall(leader.host, joiner.host);
  await sleep(200 + random.float() * 800);
  if (leader.isRunning) leader.crash("power");
  leader.trouble.isCut = false;
  heal();
  return { end: () => (leader.isRunning ? undefined : leader.start()) };
};

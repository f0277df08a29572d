/** The end of removed replicas: brokers report that they have deleted the logs. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { decodeRecord, keys, type MetadataStore } from "@millrace/metadata";
import type { TopicId } from "@millrace/record";
import { type GuardedChange, writeChanges } from "./guarded-changes.ts";
import { limits } from "./limits.ts";
import type { Write } from "./reign.ts";

/** A replica that was removed, and whose log is gone. */
export interface Removal {
  readonly topicId: TopicId;
  readonly partition: number;
  /** Of the entry: another one is about another removal. */
  readonly leaderEpoch: number;
}

/** The change that takes the entry out of the record; undefined where there is none. */
const change = async (
  store: MetadataStore,
  brokerId: number,
  { topicId, partition, leaderEpoch }: Removal,
): Promise<GuardedChange | undefined> => {
  const key = keys.partition(topicId, partition);
  const [kv] = (await store.range({ key })).kvs;
  if (kv === undefined) return undefined;
  const record = decodeRecord.partition(kv);
  const removed = record.removed.filter(
    (one) => one.brokerId !== brokerId || one.leaderEpoch !== leaderEpoch,
  );
  if (removed.length === record.removed.length) return undefined;
  return { key, modRevision: kv.modRevision, record: { ...record, removed } };
};

/** Takes the entries of a broker out of the records. Throws UNAVAILABLE when they keep changing. */
export const removalsDone = async (
  store: MetadataStore,
  write: Write,
  brokerId: number,
  removals: readonly Removal[],
): Promise<void> => {
  for (let attempt = 0; attempt < limits.attemptsMax; attempt += 1) {
    const changes: GuardedChange[] = [];
    for (const removal of removals) {
      const one = await change(store, brokerId, removal);
      if (one !== undefined) changes.push(one);
    }
    let conflicts = 0;
    await writeChanges(write, changes, {
      onWritten: () => {},
      onConflict: () => {
        conflicts += 1;
      },
    });
    if (conflicts === 0) return;
  }
  throw new MillraceError(
    ErrorCode.UNAVAILABLE,
    "records of removed replicas keep changing under this request: retry",
    { retryAfterMs: 100 },
  );
};

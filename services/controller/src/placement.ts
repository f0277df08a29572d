/** What operators want of brokers, and so which of them may get replicas. */
import { type Compare, decodeRecord, keys, type MetadataStore } from "@millrace/metadata";
import { BrokerIntent } from "@millrace/proto/common";
import type { BrokerIntentRecord } from "@millrace/proto/storage";

/** All intents, as of one look. */
export interface Placement {
  /** Of the key that every change of an intent writes; 0 before the first one. */
  readonly revision: number;
  /** By broker; those without one are active. */
  readonly intents: ReadonlyMap<number, BrokerIntentRecord>;
}

export const everyBrokerActive: Placement = { revision: 0, intents: new Map() };

/** Whether a directory is the one that an intent is about. What is not known may be. */
export const isDirectoryOf = (
  { directoryId: known }: Pick<BrokerIntentRecord, "directoryId">,
  directoryId: Uint8Array,
): boolean =>
  known.length === 0 || directoryId.length === 0 || Buffer.compare(known, directoryId) === 0;

/** Whether a directory was given up for good: it may be deleted at any time. */
export const isRetired = (
  record: BrokerIntentRecord | undefined,
  directoryId: Uint8Array,
): boolean =>
  record?.retiredDirectoryIds.some((id) => Buffer.compare(id, directoryId) === 0) ?? false;

/**
 * What is wanted of a broker with this data directory; an empty one is unknown. With another
 * directory than the one that was decommissioned it is another broker, of which nobody has wanted
 * anything. A directory that was given up is decommissioned, whatever is wanted of the id.
 */
export const intentOf = (
  { intents }: Placement,
  brokerId: number,
  directoryId: Uint8Array = new Uint8Array(0),
): BrokerIntent => {
  const record = intents.get(brokerId);
  if (record === undefined) return BrokerIntent.ACTIVE;
  if (isRetired(record, directoryId)) return BrokerIntent.DECOMMISSIONED;
  const isOther = !isDirectoryOf(record, directoryId);
  if (record.intent === BrokerIntent.DECOMMISSIONED && isOther) return BrokerIntent.ACTIVE;
  return record.intent;
};

/** Reads the intents. A change that comes in between makes `unchangedPlacement` fail. */
export const readPlacement = async (store: MetadataStore): Promise<Placement> => {
  const [changed] = (await store.range({ key: keys.placement })).kvs;
  const { kvs } = await store.range({ prefix: keys.brokerIntents });
  const records = kvs.map(decodeRecord.brokerIntent);
  return {
    revision: changed?.modRevision ?? 0,
    intents: new Map(records.map((record) => [record.brokerId, record])),
  };
};

/** The condition of every transaction that gives replicas to brokers. */
export const unchangedPlacement = ({ revision }: Placement): Compare => ({
  ...{ key: keys.placement, target: "modRevision", equals: revision },
});

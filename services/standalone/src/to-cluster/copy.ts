/** Copies the metadata of a standalone server into the store of a cluster. */
import { create } from "@bufbuild/protobuf";
import type { Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type Compare,
  clusterOf,
  decodeRecord,
  encodeRecord,
  type KeyValue,
  keys,
  type MetadataStore,
  newGeneration,
  type Operation,
  putGeneration,
} from "@millrace/metadata";
import { PartitionRecordSchema } from "@millrace/proto/storage";

/** What was copied. */
export interface Copied {
  readonly clusterId: string;
  readonly topics: number;
  readonly partitions: number;
  /** False: an earlier attempt had done it. */
  readonly isNew: boolean;
}

/** Keys of a transaction, which may have 128. */
const keysPerTransaction = 100;

/** What a process holds while it runs, and what each store has for itself. */
const isOwn = (key: string): boolean =>
  key.startsWith(keys.brokers) ||
  key.startsWith(keys.coordinators) ||
  key.startsWith(keys.tokens) ||
  // Their tokens are revisions of their store.
  key.startsWith(keys.maintenanceLeases) ||
  key === keys.maintenance ||
  key === keys.controller ||
  key === keys.generation ||
  key === keys.cluster;

/**
 * Epochs of brokers are revisions of their store. With those of the old one an ISR could name a
 * registration that the new one has yet to give.
 */
const withoutBrokerEpochs = (kv: KeyValue): Uint8Array => {
  if (!kv.key.startsWith(keys.partitions)) return kv.value;
  const record = decodeRecord.partition(kv);
  const isrBrokerEpochs = record.isr.map(() => 0n);
  return encodeRecord.partition(create(PartitionRecordSchema, { ...record, isrBrokerEpochs }));
};

const isSame = (a: Uint8Array | undefined, b: Uint8Array): boolean =>
  a !== undefined && Buffer.compare(a, b) === 0;

const refuse = (what: string): MillraceError => new MillraceError(ErrorCode.INVALID_REQUEST, what);

const absent: Compare = { key: keys.cluster, target: "createRevision", equals: 0 };

const isAnothers = (clusterId: string): MillraceError =>
  refuse(
    `the store holds cluster ${clusterId} already: stop its controllers, and choose another ` +
      "--etcd-prefix, or the store that this server shall move to",
  );

/** Throws INVALID_REQUEST when the store holds something that is not being written to it. */
const checkEmpty = async (
  to: MetadataStore,
  wanted: ReadonlyMap<string, Uint8Array>,
): Promise<void> => {
  const { kvs } = await to.range({ prefix: "" });
  // An earlier attempt may have ended half-way.
  const other = kvs.find(({ key, value }) => !isSame(wanted.get(key), value));
  if (other === undefined) return;
  throw refuse(
    `the store is not empty, it has ${other.key}: choose another --etcd-prefix, or delete what is ` +
      "there if nothing needs it",
  );
};

/**
 * Copies topics, partitions, deletions, producer ids and intents; the record of the cluster comes
 * last, so that nobody uses the store before it is complete. Nobody may write to `from` meanwhile.
 * Can be repeated after a failure, and does nothing once it is done.
 *
 * Throws DATA_DIRECTORY_UNUSABLE when `from` has no cluster, INVALID_REQUEST when `to` holds
 * another one or anything else, and what the stores throw.
 */
export const copyMetadata = async (
  from: MetadataStore,
  to: MetadataStore,
  random: Random,
): Promise<Copied> => {
  const cluster = await clusterOf(from);
  if (cluster === undefined) {
    throw new MillraceError(
      ErrorCode.DATA_DIRECTORY_UNUSABLE,
      "the directory has no metadata of a standalone server: name the one that its server used",
    );
  }
  const { clusterId } = cluster;
  const { kvs } = await from.range({ prefix: "" });
  const wanted = new Map(
    kvs.filter(({ key }) => !isOwn(key)).map((kv) => [kv.key, withoutBrokerEpochs(kv)]),
  );
  const countOf = (prefix: string): number =>
    [...wanted.keys()].filter((key) => key.startsWith(prefix)).length;
  const counts = { topics: countOf(keys.topics), partitions: countOf(keys.partitions) };
  const present = await clusterOf(to);
  if (present?.clusterId === clusterId) return { clusterId, ...counts, isNew: false };
  if (present !== undefined) throw isAnothers(present.clusterId);
  await checkEmpty(to, wanted);
  const puts = [...wanted].map(([key, value]): Operation => ({ type: "put", key, value }));
  const last = [
    putGeneration(newGeneration(random)),
    { type: "put", key: keys.cluster, value: encodeRecord.cluster(cluster) } as const,
  ];
  for (let at = 0; at < puts.length; at += keysPerTransaction) {
    await write(to, puts.slice(at, at + keysPerTransaction));
  }
  await write(to, last);
  return { clusterId, ...counts, isNew: true };
};

const write = async (to: MetadataStore, operations: readonly Operation[]): Promise<void> => {
  if ((await to.txn([absent], operations)).succeeded) return;
  throw isAnothers((await clusterOf(to))?.clusterId ?? "of somebody else");
};

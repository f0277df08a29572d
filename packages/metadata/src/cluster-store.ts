/**
 * The metadata store of one cluster. A store that does not hold this cluster's record (it was
 * wiped, or belongs to another cluster) is treated like one that is down: every call fails with
 * UNAVAILABLE, and writes nothing.
 *
 * The record is one more compare of every transaction, so nothing can come between the check and
 * the write, and no call takes longer for it. Only a page of a range, and a lease that is gone,
 * cost a second call. Watches are the caller's: `Mirror` judges what it is told.
 */
import type {
  CallOptions,
  Compare,
  KeyRange,
  KeyValue,
  Lease,
  MetadataStore,
  Operation,
  RangeOptions,
  RangeResult,
  TxnResult,
  WatchHandle,
  WatchHandlers,
} from "./api.ts";
import { clusterIdIn, foreignStore } from "./cluster.ts";
import { keys } from "./keys.ts";
import { invalid } from "./limits.ts";

const readRecord: Operation = { type: "range", range: { key: keys.cluster } };

/**
 * A transaction takes 127 compares, and in `otherwise` 127 operations, which only read: the check
 * has one of each.
 */
export class ClusterStore implements MetadataStore {
  readonly clusterId: string;
  readonly #store: MetadataStore;
  /** The cluster's record, as it was read last. */
  #record: Uint8Array | undefined;

  constructor(store: MetadataStore, clusterId: string) {
    this.#store = store;
    this.clusterId = clusterId;
  }

  async txn(
    compares: readonly Compare[],
    then: readonly Operation[],
    otherwise: readonly Operation[] = [],
    options: CallOptions = {},
  ): Promise<TxnResult> {
    // They would be done in another cluster's store.
    if (otherwise.some(({ type }) => type !== "range")) {
      throw invalid("the second branch of a transaction only reads here: split the transaction");
    }
    const equals = this.#record ?? (await this.#readRecord(options));
    const isOurs: Compare = { key: keys.cluster, target: "value", equals };
    const reads = [...otherwise, readRecord];
    const result = await this.#store.txn([isOurs, ...compares], then, reads, options);
    if (result.succeeded) return result;
    const last = result.results.at(-1);
    const record = this.#judge(last?.type === "range" ? last.kvs[0] : undefined);
    if (Buffer.compare(record, equals) === 0) {
      return { ...result, results: result.results.slice(0, -1) };
    }
    // The record has changed, and is this cluster's: nothing was done yet.
    return this.txn(compares, then, otherwise, options);
  }

  async range(range: KeyRange, options: RangeOptions = {}): Promise<RangeResult> {
    const { limit, revision: past, startAfter, ...call } = options;
    if (limit === undefined && past === undefined && startAfter === undefined) {
      const { results, revision } = await this.txn([], [{ type: "range", range }], [], call);
      const [read] = results;
      return { kvs: read?.type === "range" ? read.kvs : [], revision, more: false };
    }
    const page = await this.#store.range(range, options);
    await this.#check(call);
    return page;
  }

  watch(range: KeyRange, fromRevision: number, handlers: WatchHandlers): WatchHandle {
    return this.#store.watch(range, fromRevision, handlers);
  }

  grantLease(ttlSeconds: number, options?: CallOptions): Promise<Lease> {
    return this.#store.grantLease(ttlSeconds, options);
  }

  /** A lease that another store does not know has not ended. */
  async keepAlive(leaseId: string, options: CallOptions = {}): Promise<boolean> {
    if (await this.#store.keepAlive(leaseId, options)) return true;
    await this.#check(options);
    return false;
  }

  revokeLease(leaseId: string, options?: CallOptions): Promise<void> {
    return this.#store.revokeLease(leaseId, options);
  }

  compact(revision: number, options?: CallOptions): Promise<void> {
    return this.#store.compact(revision, options);
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #check(options: CallOptions): Promise<void> {
    await this.txn([], [], [], options);
  }

  async #readRecord(options: CallOptions): Promise<Uint8Array> {
    const [kv] = (await this.#store.range({ key: keys.cluster }, options)).kvs;
    return this.#judge(kv);
  }

  /** The record's bytes. Throws UNAVAILABLE when it is not this cluster's. */
  #judge(kv: KeyValue | undefined): Uint8Array {
    if (kv === undefined || clusterIdIn(kv) !== this.clusterId) {
      throw foreignStore(this.clusterId, kv);
    }
    this.#record = kv.value;
    return kv.value;
  }
}

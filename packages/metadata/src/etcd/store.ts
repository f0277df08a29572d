/** `EtcdStore`: a `MetadataStore` on an etcd cluster, with all keys of a cluster under one root. */
import type { Clock, Logger, Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { ILeaseKeepAliveResponse, IRangeResponse, IResponseHeader } from "etcd3";
import type {
  CallOptions,
  Compare,
  KeyRange,
  Lease,
  MetadataStore,
  Operation,
  RangeOptions,
  RangeResult,
  TxnResult,
  WatchHandle,
  WatchHandlers,
} from "../api.ts";
import {
  callTimeoutMs,
  checkLimits,
  checkRange,
  checkRead,
  checkTtl,
  invalid,
  rootBytesMax,
} from "../limits.ts";
import { storeClosed, unknownOutcome } from "../outcome.ts";
import { Codec, leaseIdOf, numberOf } from "./codec.ts";
import { type Credentials, Endpoints, type Server } from "./endpoints.ts";
import { isLeaseGone, isOutOfRange } from "./errors.ts";
import { type CallContext, EtcdError, type RawEtcd } from "./raw-api.ts";
import { EtcdWatch } from "./watch.ts";

export interface EtcdStoreOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly servers: readonly Server[];
  /** What all keys of the cluster begin with, such as `/millrace/<cluster>/`. */
  readonly root: string;
  readonly credentials?: Credentials;
  /** Silence of a watch after which etcd is asked, and again until the watch is lost, ms. */
  readonly watchSilenceMs?: number;
}

/** Longest silence of a watch before etcd is asked: half the time until a hung server is left. */
const defaultWatchSilenceMs = 3000;

const timeoutOf = ({ timeoutMs = callTimeoutMs }: CallOptions): number => timeoutMs;

export class EtcdStore implements MetadataStore {
  readonly #options: EtcdStoreOptions;
  readonly #codec: Codec;
  readonly #endpoints: Endpoints;
  readonly #watches = new Set<EtcdWatch>();
  #etcdClusterId: string | undefined;
  #closed = false;

  constructor(options: EtcdStoreOptions) {
    const { clock, random, logger, servers, root, credentials } = options;
    const rootBytes = Buffer.byteLength(root);
    if (rootBytes < 1 || rootBytes > rootBytesMax) {
      const what = `a root of ${rootBytes} bytes in etcd is not allowed: use 1 to ${rootBytesMax}`;
      throw new MillraceError(ErrorCode.INVALID_CONFIG, what);
    }
    this.#options = options;
    this.#codec = new Codec(root);
    const probe = { key: this.#codec.key(""), limit: 1, keys_only: true };
    this.#endpoints = new Endpoints({
      ...{ clock, random, logger, servers },
      ...(credentials === undefined ? {} : { credentials }),
      probe: (raw, context) => raw.range(probe, context),
    });
  }

  async range(range: KeyRange, options: RangeOptions = {}): Promise<RangeResult> {
    this.#checkOpen();
    checkRead(range, options);
    const request = this.#codec.read(range, options);
    const response = await this.#endpoints.read(timeoutOf(options), (raw, context) =>
      raw.range(request, context),
    );
    this.#heard(response.header);
    const { startAfter } = options;
    // A single key is not a range that could begin later.
    const isBefore =
      "key" in range &&
      startAfter !== undefined &&
      Buffer.compare(Buffer.from(range.key), Buffer.from(startAfter)) <= 0;
    const kvs = isBefore ? [] : this.#codec.kvs(response);
    return { kvs, revision: numberOf(response.header.revision), more: response.more };
  }

  async txn(
    compares: readonly Compare[],
    then: readonly Operation[],
    otherwise: readonly Operation[] = [],
    options: CallOptions = {},
  ): Promise<TxnResult> {
    this.#checkOpen();
    checkLimits(compares, then, otherwise);
    const request = this.#codec.txn(compares, then, otherwise);
    const call = (raw: RawEtcd, context: CallContext) => raw.txn(request, context);
    const timeoutMs = timeoutOf(options);
    // One that only reads may be made twice.
    const isRead = [...then, ...otherwise].every(({ type }) => type === "range");
    const response = await (isRead
      ? this.#endpoints.read(timeoutMs, call)
      : this.#endpoints.write(timeoutMs, call));
    try {
      this.#heard(response.header);
      const { succeeded } = response;
      const results = this.#codec.results(succeeded ? then : otherwise, response.responses);
      return { succeeded, revision: numberOf(response.header.revision), results };
    } catch (thrown) {
      throw unknownOutcome("etcd has answered a write with something that cannot be read", thrown);
    }
  }

  watch(range: KeyRange, fromRevision: number, handlers: WatchHandlers): WatchHandle {
    this.#checkOpen();
    checkRange(range);
    const { clock, watchSilenceMs: silenceMs = defaultWatchSilenceMs } = this.#options;
    const watch = new EtcdWatch({
      ...{ clock, endpoints: this.#endpoints, codec: this.#codec },
      ...{ range, fromRevision, handlers, timeoutMs: callTimeoutMs, silenceMs },
      readRevision: async () => (await this.range({ key: "" })).revision,
      heard: (header) => this.#heard(header),
      ended: (ended) => this.#watches.delete(ended),
    });
    this.#watches.add(watch);
    return watch;
  }

  /** A grant of unknown outcome leaves at most a lease without keys, until its TTL has passed. */
  async grantLease(ttlSeconds: number, options: CallOptions = {}): Promise<Lease> {
    this.#checkOpen();
    checkTtl(ttlSeconds);
    const response = await this.#endpoints.write(timeoutOf(options), (raw, context) =>
      raw.leaseGrant({ TTL: ttlSeconds }, context),
    );
    return { id: response.ID, ttlSeconds: numberOf(response.TTL) };
  }

  async keepAlive(leaseId: string, options: CallOptions = {}): Promise<boolean> {
    this.#checkOpen();
    const id = leaseIdOf(leaseId);
    if (id === undefined) return false;
    const response = await this.#endpoints.read(timeoutOf(options), (raw, context) =>
      keepAliveOnce(raw, context, id),
    );
    return numberOf(response.TTL) > 0;
  }

  async revokeLease(leaseId: string, options: CallOptions = {}): Promise<void> {
    this.#checkOpen();
    const id = leaseIdOf(leaseId);
    if (id === undefined) return;
    // The second of two revocations finds nothing, so that it may be sent again.
    await this.#endpoints.read(timeoutOf(options), async (raw, context) => {
      try {
        await raw.leaseRevoke({ ID: id }, context);
      } catch (thrown) {
        if (!isLeaseGone(thrown)) throw thrown;
      }
    });
  }

  async compact(revision: number, options: CallOptions = {}): Promise<void> {
    this.#checkOpen();
    await this.#endpoints.read(timeoutOf(options), async (raw, context) => {
      try {
        await raw.compact({ revision }, context);
      } catch (thrown) {
        if (!isOutOfRange(thrown)) throw thrown;
        // Either compacted before, or in the future.
        const now = await raw.range({ key: this.#codec.key(""), limit: 1 }, context);
        if (revision > revisionOf(now)) throw invalid(`revision ${revision} is in the future`);
      }
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const watch of [...this.#watches]) watch.end({ reason: "cancelled" });
    this.#endpoints.close();
  }

  #checkOpen(): void {
    if (this.#closed) throw storeClosed("none");
  }

  /** A cluster that was restored, or is another one, has another id. */
  #heard({ cluster_id: id }: IResponseHeader): void {
    const known = this.#etcdClusterId;
    this.#etcdClusterId = id;
    if (known === undefined || known === id) return;
    const what = `etcd cluster ${known} has become ${id}: restored, or the wrong endpoints`;
    this.#options.logger.error({ known, found: id }, what);
    const error = new MillraceError(ErrorCode.CLUSTER_ID_MISMATCH, `${what}: list again`);
    for (const watch of [...this.#watches]) watch.end({ reason: "diverged", error });
  }
}

const revisionOf = ({ header }: IRangeResponse): number => numberOf(header.revision);

/** One request and one response, on a stream of their own. */
const keepAliveOnce = (
  raw: RawEtcd,
  context: CallContext,
  id: string,
): Promise<ILeaseKeepAliveResponse> =>
  new Promise((resolve, reject) => {
    const stream = raw.leaseKeepAlive(context, {
      onData: (response) => {
        stream.close();
        resolve(response);
      },
      onEnd: (error) => reject(error instanceof EtcdError ? error : new EtcdError(14, error)),
    });
    stream.write({ ID: id });
  });

/** An etcd server whose answers the test gives. */
import type { IEvent, IRangeRequest, ITxnRequest, IWatchRequest, IWatchResponse } from "etcd3";
import { type CallContext, EtcdError, type RawEtcd, type StreamHandlers } from "../raw-api.ts";

export const header = (revision: number, clusterId = "1") => ({
  ...{ cluster_id: clusterId, member_id: "1", revision: String(revision), raft_term: "2" },
});

export const kv = (key: string | Buffer, modRevision: number, value = "v") => ({
  key: Buffer.from(key),
  value: Buffer.from(value),
  ...{ create_revision: String(modRevision), mod_revision: String(modRevision) },
  ...{ version: "1", lease: "0" },
});

export const event = (key: string | Buffer, modRevision: number): IEvent => ({
  ...{ type: "Put", kv: kv(key, modRevision), prev_kv: kv("", 0) },
});

/** A response of a watch; everything that is not given is empty. */
export const watched = (
  revision: number,
  given: Partial<Omit<IWatchResponse, "header">> = {},
): IWatchResponse => ({
  header: header(revision),
  ...{ watch_id: "0", created: false, canceled: false, compact_revision: "0" },
  ...{ cancel_reason: "", fragment: false, events: [] },
  ...given,
});

export interface FakeStream {
  readonly requests: IWatchRequest[];
  readonly handlers: StreamHandlers<IWatchResponse>;
  readonly context: CallContext;
  closed: boolean;
}

/** Calls so far, by name, and what the next ones do. */
export class FakeEtcd implements RawEtcd {
  readonly calls: string[] = [];
  readonly contexts: CallContext[] = [];
  readonly transactions: ITxnRequest[] = [];
  readonly ranges: IRangeRequest[] = [];
  readonly streams: FakeStream[] = [];
  revision = 1;
  clusterId = "1";
  /** Thrown by, or awaited before, the answer of a call. */
  before: (call: string) => Promise<void> = async () => {};
  tokens: string[] = [];
  ttl = "10";
  closed = false;

  /** Fails with this code and text; all calls, or those of a name. */
  fail(code: number, message = "failed", ...names: readonly string[]): void {
    this.before = async (call) => {
      if (names.length === 0 || names.includes(call)) throw new EtcdError(code, message);
    };
  }

  /** Never answers. */
  hang(...names: readonly string[]): void {
    this.before = (call) =>
      names.length === 0 || names.includes(call) ? new Promise(() => {}) : Promise.resolve();
  }

  async #called(name: string, context: CallContext): Promise<void> {
    this.calls.push(name);
    this.contexts.push(context);
    await this.before(name);
  }

  readonly range: RawEtcd["range"] = async (request, context) => {
    this.ranges.push(request);
    await this.#called("range", context);
    return { header: header(this.revision, this.clusterId), kvs: [], more: false, count: "0" };
  };

  readonly txn: RawEtcd["txn"] = async (request, context) => {
    this.transactions.push(request);
    await this.#called("txn", context);
    return { header: header(this.revision, this.clusterId), succeeded: true, responses: [] };
  };

  readonly compact: RawEtcd["compact"] = async (_request, context) => {
    await this.#called("compact", context);
    return { header: header(this.revision) };
  };

  readonly leaseGrant: RawEtcd["leaseGrant"] = async (_request, context) => {
    await this.#called("leaseGrant", context);
    return { header: header(this.revision), ID: "77", TTL: this.ttl, error: "" };
  };

  readonly leaseRevoke: RawEtcd["leaseRevoke"] = async (_request, context) => {
    await this.#called("leaseRevoke", context);
    return { header: header(this.revision) };
  };

  readonly leaseKeepAlive: RawEtcd["leaseKeepAlive"] = (context, handlers) => {
    const ended = this.#called("leaseKeepAlive", context);
    return {
      write: ({ ID }) => {
        ended.then(
          () => handlers.onData({ header: header(this.revision), ID: String(ID), TTL: this.ttl }),
          (thrown: EtcdError) => handlers.onEnd(thrown),
        );
      },
      close: () => {},
    };
  };

  readonly watch: RawEtcd["watch"] = (context, handlers) => {
    const stream: FakeStream = { requests: [], handlers, context, closed: false };
    this.streams.push(stream);
    return {
      write: (request) => stream.requests.push(request),
      close: () => {
        stream.closed = true;
      },
    };
  };

  readonly authenticate: RawEtcd["authenticate"] = async (_credentials, context) => {
    await this.#called("authenticate", context);
    const token = `token ${this.tokens.length + 1}`;
    this.tokens.push(token);
    return token;
  };

  close(): void {
    this.closed = true;
  }
}

/**
 * An embedded store and etcd that are given the same commands and must give the same answers, also
 * where connections to etcd break in the middle of a command.
 *
 * Every transaction puts a token into one key, the slot, on condition that the slot is unchanged. A
 * transaction of unknown outcome is settled by putting another token there: see `GuardedWriter`.
 * Whatever etcd has done so is done by the embedded store as well, so that their revisions stay at
 * the same distance.
 */
import assert from "node:assert/strict";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type Compare,
  isOutcomeUnknown,
  type KeyRange,
  type KeyValue,
  type MetadataStore,
  type Operation,
  type OperationResult,
  type TxnResult,
  type WatchEvent,
  type WatchHandle,
} from "@millrace/metadata";
import type { Command, Known } from "./commands.ts";

const slotKey = "slot";
const readSlot = { type: "range", range: { key: slotKey } } as const;
const putSlot = (token: string): Operation => ({
  ...{ type: "put", key: slotKey, value: Buffer.from(token) },
});

/** A key without the name of its lease, which differs; revisions moved by `offset`. */
const plain = (kv: KeyValue, offset: number): string => {
  const value = Buffer.from(kv.value).toString("hex");
  const move = (revision: number): number => (revision === 0 ? 0 : revision - offset);
  const revisions = `${move(kv.createRevision)}/${move(kv.modRevision)}/${kv.version}`;
  return `${JSON.stringify(kv.key)}=${value}@${revisions}${kv.lease === undefined ? "" : " leased"}`;
};

const plainEvent = ({ type, kv }: WatchEvent, offset: number): string =>
  `${type} ${plain(kv, offset)}`;

const plainResult = (result: OperationResult, offset: number): unknown =>
  result.type === "range" ? result.kvs.map((kv) => plain(kv, offset)) : result;

interface Lease {
  readonly embedded: string;
  readonly etcd: string;
}

/** Everything that a watch has delivered, resumed wherever it broke. */
export class Recorder {
  readonly #store: MetadataStore;
  readonly #range: KeyRange;
  readonly #offset: number;
  readonly events: { readonly revision: number; readonly text: string }[] = [];
  end: string | undefined;
  resumed = 0;
  #next: number;
  #handle: WatchHandle | undefined;

  constructor(store: MetadataStore, range: KeyRange, from: number, offset: number) {
    this.#store = store;
    this.#range = range;
    this.#offset = offset;
    this.#next = from + offset;
    this.#watch();
  }

  /** The last revision up to which everything was delivered, as of the embedded store. */
  get revision(): number {
    return this.#next - 1 - this.#offset;
  }

  ask(): void {
    this.#handle?.requestProgress();
  }

  stop(): void {
    this.end ??= "stopped";
    this.#handle?.cancel();
  }

  #watch(): void {
    this.#handle = this.#store.watch(this.#range, this.#next, {
      onBatch: ({ events, revision }) => {
        for (const event of events) {
          const text = plainEvent(event, this.#offset);
          this.events.push({ revision: revision - this.#offset, text });
        }
        this.#next = revision + 1;
      },
      onEnd: (end) => {
        if (this.end !== undefined) return;
        if (end.reason !== "lost") {
          this.end = end.reason;
          return;
        }
        this.resumed += 1;
        setTimeout(() => {
          if (this.end === undefined) this.#watch();
        }, 10);
      },
    });
  }
}

type Answer = { readonly refused: string } | { readonly value: unknown };

const answered = async (work: () => Promise<unknown>): Promise<Answer> => {
  try {
    return { value: await work() };
  } catch (thrown) {
    const error = MillraceError.from(thrown);
    if (isOutcomeUnknown(error) || error.code === ErrorCode.UNAVAILABLE) throw thrown;
    return { refused: error.codeName };
  }
};

export class Pair {
  readonly embedded: MetadataStore;
  readonly etcd: MetadataStore;
  readonly timeoutMs: number;
  /** Revision of etcd less that of the embedded store. */
  offset = 0;
  /** Transactions whose outcome was unknown: those that had happened, and those that had not. */
  readonly unknown = { happened: 0, voided: 0 };
  readonly #leases: Lease[] = [];
  readonly #watching = new Set<Promise<void>>();
  #slotRevision = 0;
  #tokens = 0;
  #compacted = 1;

  constructor(embedded: MetadataStore, etcd: MetadataStore, timeoutMs: number) {
    this.embedded = embedded;
    this.etcd = etcd;
    this.timeoutMs = timeoutMs;
  }

  async open(): Promise<void> {
    const embedded = await this.embedded.txn([], [putSlot("0")]);
    const etcd = await this.etcd.txn([], [putSlot("0")]);
    this.offset = etcd.revision - embedded.revision;
    this.#slotRevision = etcd.revision;
  }

  async known(): Promise<Known> {
    const { kvs, revision } = await this.embedded.range({ prefix: "" });
    const compacted = this.#compacted;
    return {
      ...{ revision, compacted, leases: this.#leases.length },
      kvs: new Map(kvs.map((kv) => [kv.key, kv])),
    };
  }

  /** Does a command on both, and compares the answers. */
  async run(command: Command, calm: boolean): Promise<void> {
    if (command.kind === "txn") await this.#txn(command, calm);
    else if (command.kind === "grant") await this.#grant();
    else if (command.kind === "watch") await this.#startWatch(command.range, command.from);
    else {
      const embedded = await answered(() => this.#simple(command, this.embedded, "embedded", 0));
      const etcd = await this.#again(() =>
        answered(() => this.#simple(command, this.etcd, "etcd", this.offset)),
      );
      assert.deepEqual(etcd, embedded, JSON.stringify(command));
      if (command.kind === "compact" && "value" in embedded) {
        this.#compacted = Math.max(this.#compacted, command.revision);
      }
    }
  }

  /** A command that may be done twice. */
  async #simple(
    command: Exclude<Command, { kind: "txn" | "grant" | "watch" }>,
    store: MetadataStore,
    side: keyof Lease,
    offset: number,
  ): Promise<unknown> {
    switch (command.kind) {
      case "range": {
        const { revision } = command.options;
        const past = revision === undefined ? {} : { revision: revision + offset };
        const read = await store.range(command.range, { ...command.options, ...past });
        const kvs = read.kvs.map((kv) => plain(kv, offset));
        return { kvs, revision: read.revision - offset, more: read.more };
      }
      case "compact":
        return store.compact(command.revision + offset);
      default: {
        const lease = this.#leases[command.lease]?.[side] ?? "";
        if (command.kind === "keepAlive") return store.keepAlive(lease);
        return store.revokeLease(lease);
      }
    }
  }

  /** A grant that is made twice leaves a lease without keys. */
  async #grant(): Promise<void> {
    const [embedded, etcd] = await Promise.all([
      this.embedded.grantLease(3600),
      this.#again(() => this.etcd.grantLease(3600)),
    ]);
    assert.equal(etcd.ttlSeconds, embedded.ttlSeconds);
    this.#leases.push({ embedded: embedded.id, etcd: etcd.id });
  }

  /** etcd delivers old events up to 100 ms later: other commands run meanwhile. */
  async #startWatch(range: KeyRange, from: number): Promise<void> {
    if (this.#watching.size >= 20) await this.watched();
    const { revision } = await this.known();
    const watching = this.#watch(range, from, revision);
    this.#watching.add(watching);
    watching.then(
      () => this.#watching.delete(watching),
      // `watched` tells.
      () => {},
    );
  }

  /** Once the watches so far have delivered the same. */
  async watched(): Promise<void> {
    await Promise.all(this.#watching);
  }

  async #watch(range: KeyRange, from: number, revision: number): Promise<void> {
    const embedded = new Recorder(this.embedded, range, from, 0);
    const etcd = new Recorder(this.etcd, range, from, this.offset);
    try {
      for (const recorder of [embedded, etcd]) await this.reach(recorder, revision);
      const of = ({ events, end }: Recorder): unknown => ({
        events: events.filter((event) => event.revision <= revision),
        end,
      });
      assert.deepEqual(of(etcd), of(embedded), `watch ${JSON.stringify(range)} from ${from}`);
    } finally {
      embedded.stop();
      etcd.stop();
    }
  }

  /** Waits until a watch has delivered everything up to a revision, or has ended. */
  async reach(recorder: Recorder, revision: number): Promise<void> {
    for (let i = 0; recorder.revision < revision && recorder.end === undefined; i += 1) {
      assert.ok(i < 4000, `a watch is stuck at ${recorder.revision}, not ${revision}`);
      if (i % 20 === 1) recorder.ask();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async #again<T>(work: () => Promise<T>): Promise<T> {
    for (let i = 0; ; i += 1) {
      try {
        return await work();
      } catch (thrown) {
        const error = MillraceError.from(thrown);
        if (error.code !== ErrorCode.UNAVAILABLE || i > 20) throw thrown;
      }
    }
  }

  #leased(operations: readonly Operation[], side: keyof Lease): Operation[] {
    return operations.map((operation) => {
      if (operation.type !== "put" || operation.lease === undefined) return operation;
      return { ...operation, lease: this.#leases[Number(operation.lease)]?.[side] ?? "none" };
    });
  }

  async #txn(command: Extract<Command, { kind: "txn" }>, calm: boolean): Promise<void> {
    this.#tokens += 1;
    const token = `t${this.#tokens}`;
    const send = (store: MetadataStore, side: keyof Lease, offset: number) => {
      const compares = command.compares.map((compare): Compare => {
        if ("prefix" in compare) return { ...compare, below: compare.below + offset };
        const moved = compare.target === "modRevision" || compare.target === "createRevision";
        if (!moved || compare.equals === 0) return compare;
        return { ...compare, equals: compare.equals + offset };
      });
      const slot = this.#slotRevision - this.offset + offset;
      return store.txn(
        [{ key: slotKey, target: "modRevision", equals: slot }, ...compares],
        [putSlot(token), ...this.#leased(command.apply, side)],
        [readSlot, ...this.#leased(command.otherwise, side)],
        { timeoutMs: calm ? 10_000 : this.timeoutMs },
      );
    };
    const etcd = await answered(() =>
      this.#settled(token, calm, () => send(this.etcd, "etcd", this.offset)),
    );
    // `#settled` moves the slot only when the transaction has happened, after its answer is known.
    const happened = this.#happenedAt;
    this.#happenedAt = undefined;
    const embedded = await answered(() => send(this.embedded, "embedded", 0));
    if (happened !== undefined) this.#slotRevision = happened;
    const what = JSON.stringify(command);
    if (!("value" in etcd) || !("value" in embedded)) {
      assert.deepEqual(etcd, embedded, what);
      return;
    }
    const [there, here] = [etcd.value as Settled, embedded.value as TxnResult];
    assert.equal(there.succeeded, here.succeeded, what);
    assert.equal(there.revision - this.offset, here.revision, what);
    if (there.results === undefined) return;
    assert.deepEqual(
      there.results.map((result) => plainResult(result, this.offset)),
      here.results.map((result) => plainResult(result, 0)),
      what,
    );
  }

  #happenedAt: number | undefined;

  /** Sends until the outcome is known. The results are not, where the answer was lost. */
  async #settled(token: string, calm: boolean, send: () => Promise<TxnResult>): Promise<Settled> {
    for (;;) {
      try {
        const result = await send();
        if (result.succeeded) this.#happenedAt = result.revision;
        return result;
      } catch (thrown) {
        const error = MillraceError.from(thrown);
        if (error.code !== ErrorCode.UNAVAILABLE) throw thrown;
        assert.ok(!calm, `nothing breaks, and yet: ${error.message}: ${error.cause}`);
        if (!isOutcomeUnknown(thrown)) continue;
      }
      const found = await this.#void(token);
      if (found === undefined) continue;
      this.#happenedAt = found;
      return { succeeded: true, revision: found, results: undefined };
    }
  }

  /** The revision at which the token was put, or undefined when it never will be. */
  async #void(token: string): Promise<number | undefined> {
    const sent = new Set<string>();
    for (;;) {
      this.#tokens += 1;
      const own = `v${this.#tokens}`;
      sent.add(own);
      const compare = { key: slotKey, target: "modRevision", equals: this.#slotRevision } as const;
      const timeout = { timeoutMs: this.timeoutMs };
      const result = await this.etcd
        .txn([compare], [putSlot(own)], [readSlot], timeout)
        .catch((thrown: unknown) => {
          if (MillraceError.from(thrown).code !== ErrorCode.UNAVAILABLE) throw thrown;
          return undefined;
        });
      if (result === undefined) continue;
      const [read] = result.results;
      const kv = read?.type === "range" ? read.kvs[0] : undefined;
      const value = result.succeeded ? own : Buffer.from(kv?.value ?? []).toString();
      if (value === token) {
        this.unknown.happened += 1;
        return kv?.modRevision;
      }
      assert.ok(sent.has(value), `somebody else has put ${value}`);
      this.unknown.voided += 1;
      this.#slotRevision = result.succeeded ? result.revision : (kv?.modRevision ?? 0);
      const { revision } = await this.embedded.txn([], [putSlot(value)]);
      assert.equal(this.#slotRevision - this.offset, revision);
      return undefined;
    }
  }
}

interface Settled {
  readonly succeeded: boolean;
  readonly revision: number;
  readonly results: readonly OperationResult[] | undefined;
}

/**
 * What controllers have written to etcd, revision by revision, as one watch delivers it, and
 * whether that could be: one reign after the other, each under its own epoch.
 */
import assert from "node:assert/strict";
import {
  decodeRecord,
  keys,
  type MetadataStore,
  type WatchEvent,
  type WatchHandle,
} from "@millrace/metadata";

/** Keys that are written without a guard: by brokers, at bootstrap, and by tests. */
const unguarded = [keys.brokers, keys.cluster, keys.generation, "unguarded/"];
const writerPattern = new RegExp(`^${keys.tokens}(controller-\\d+)\\.(\\d+)/`);

/** A reign that has written. */
interface Writer {
  readonly name: string;
  readonly epoch: number;
}

export class History {
  readonly #store: MetadataStore;
  /** Of the checks. */
  readonly failures: unknown[] = [];
  /** Reigns that have written, in order. */
  readonly writers: Writer[] = [];
  /** Epochs of the elections, in order. */
  readonly elections: number[] = [];
  /** Ids of the topics that were made, by name. */
  readonly made = new Map<string, string[]>();
  /** Registrations of brokers that have begun. */
  registrations = 0;
  /** Revisions with changes. */
  writes = 0;
  revision = 0;
  /** Called after every revision. */
  onWrite: (events: readonly WatchEvent[]) => void = () => {};
  /** Epoch of the key of the election, or 0 while nobody holds it. */
  #holder = 0;
  readonly #leaderEpochs = new Map<string, number>();
  #watch: WatchHandle | undefined;
  #closed = false;

  constructor(store: MetadataStore, revision: number) {
    this.#store = store;
    this.revision = revision;
    this.#follow();
  }

  /** Asks how far the watch is: the last revision may be of a change elsewhere in etcd. */
  ask(): void {
    this.#watch?.requestProgress();
  }

  close(): void {
    this.#closed = true;
  }

  #follow(): void {
    if (this.#closed) return;
    this.#watch = this.#store.watch({ prefix: "" }, this.revision + 1, {
      onBatch: ({ events, revision }) => {
        this.revision = revision;
        if (events.length > 0) this.#add(events);
      },
      onEnd: ({ reason }) => {
        if (reason === "lost") setTimeout(() => this.#follow(), 50);
        else if (reason !== "cancelled") this.failures.push(new Error(`the watch is ${reason}`));
      },
    });
  }

  #add(events: readonly WatchEvent[]): void {
    this.writes += 1;
    try {
      this.#check(events);
    } catch (thrown) {
      this.failures.push(thrown);
    }
    this.onWrite(events);
  }

  #check(events: readonly WatchEvent[]): void {
    const writer = events.flatMap(({ type, kv }) => {
      const [, name, epoch] = (type === "put" && writerPattern.exec(kv.key)) || [];
      return name === undefined ? [] : [{ name, epoch: Number(epoch) }];
    })[0];
    for (const event of events) {
      const { key } = event.kv;
      if (key === keys.controller) this.#election(event);
      else if (key.startsWith(keys.brokers)) this.registrations += Number(event.kv.version === 1);
      else if (unguarded.some((prefix) => key.startsWith(prefix))) continue;
      // A slot is made, and an outcome found out, without a guard.
      else if (event.type === "put" && key.startsWith(keys.tokens)) continue;
      else this.#guarded(event, writer);
    }
  }

  #election({ type, kv }: WatchEvent): void {
    this.#holder = type === "put" ? kv.createRevision : 0;
    if (type === "delete") return;
    const last = this.elections.at(-1) ?? 0;
    assert.ok(this.#holder > last, `epoch ${this.#holder} after epoch ${last}`);
    this.elections.push(this.#holder);
  }

  #guarded({ type, kv }: WatchEvent, writer: Writer | undefined): void {
    const { key, modRevision } = kv;
    assert.ok(writer !== undefined, `${key} is written without a guard at ${modRevision}`);
    const { name, epoch } = writer;
    assert.equal(epoch, this.#holder, `${name} writes ${key} at ${modRevision} under an old epoch`);
    const last = this.writers.at(-1);
    if (last?.epoch !== epoch) this.writers.push(writer);
    else assert.equal(name, last.name, `two controllers write under epoch ${epoch}`);
    if (type === "delete") return;
    if (key.startsWith(keys.topics) && kv.version === 1) {
      const { name: topic, topicId } = decodeRecord.topic(kv);
      const ids = this.made.get(topic) ?? [];
      this.made.set(topic, [...ids, Buffer.from(topicId).toString("hex")]);
    } else if (key.startsWith(keys.partitions)) {
      const { leaderEpoch } = decodeRecord.partition(kv);
      const before = this.#leaderEpochs.get(key) ?? 0;
      assert.ok(leaderEpoch >= before, `the leader epoch of ${key} falls at ${modRevision}`);
      this.#leaderEpochs.set(key, leaderEpoch);
    }
  }
}

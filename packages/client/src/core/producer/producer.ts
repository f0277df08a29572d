/** The producer: takes records, spreads them over partitions, and reports their outcome. */
import { ErrorCode, MillraceError, must, sizeText } from "@millrace/errors";
import { Acks, Guarantee } from "@millrace/proto/common";
import { partitionOfKey, type WireProduceResult } from "@millrace/record";
import { closedError } from "../failures.ts";
import { isSameTopic } from "../metadata/index.ts";
import { type HeldUp, StateTeller, tellsProducer } from "../state.ts";
import type {
  FailedBatch,
  ProducerOptions,
  ProducerRecord,
  RecordGuarantee,
  RecordMetadata,
  Sendable,
} from "../types.ts";
import type { Batch, Waiter } from "./batch.ts";
import { checkCondition, hasCondition, setCondition } from "./condition.ts";
import { type DispatchContext, Dispatcher } from "./dispatcher.ts";
import {
  checkRecord,
  checkTopic,
  copyInput,
  emptyInput,
  fillInput,
  type MutableInput,
} from "./input.ts";
import { type CheckedOptions, checkOptions } from "./options.ts";
import { PartitionQueue, type TopicLimits } from "./partition-queue.ts";
import { type Serialize, serializeWith } from "./serialize.ts";

/** A record whose topic is not known yet. */
interface Unplaced {
  readonly record: ProducerRecord;
  readonly input: MutableInput;
  readonly bytes: number;
  readonly waiter: Waiter | undefined;
}

interface TopicState {
  readonly name: string;
  readonly limits: TopicLimits;
  topicId: Uint8Array;
  /** Version of the metadata that `partitionCount` is of. */
  version: number;
  partitionCount: number;
  /** One per partition. A topic recreated with fewer partitions leaves extra queues. */
  readonly queues: PartitionQueue[];
  /** Partition of keyless records until its batch closes; -1 when the next record chooses. */
  sticky: number;
  /** Records that wait for metadata, in order; undefined once the topic is known. */
  unplaced: Unplaced[] | undefined;
}

/** A record that waits for room. */
interface WaitingRecord {
  readonly record: ProducerRecord;
  readonly bytes: number;
  /** Undefined: it came by `write`. */
  readonly waiter: Waiter | undefined;
}

/** What a producer gets from its client. */
export interface ProducerContext extends DispatchContext {
  readonly clientId: string;
  readonly onClosed: () => void;
}

interface Flush {
  readonly batches: Set<Batch>;
  readonly resolve: () => void;
}

/** Records of a producer whose keys are looked at: the first ones show what a program mistypes. */
const checkedRecords = 1_000;

const acksNumbers = { all: Acks.ALL, leader: Acks.LEADER, none: Acks.NONE } as const;

const guaranteeNames: Readonly<Record<number, RecordGuarantee>> = {
  [Guarantee.FSYNCED_QUORUM]: "fsynced_quorum",
  [Guarantee.FSYNCED_LEADER]: "fsynced_leader",
  [Guarantee.WRITTEN_QUORUM]: "written_quorum",
  [Guarantee.WRITTEN_LEADER]: "written_leader",
  [Guarantee.RECEIVED]: "received",
};

/**
 * Writes records. Records of one partition are written in the order of the calls.
 *
 * Every record is either acknowledged or fails: `send` rejects, `write` reports to `onError`. A
 * record that failed with `sideEffects` in the error's `spec` may have been written. With
 * idempotence, no retry of the producer writes a record twice (KIP-98).
 */
export class Producer<K = Sendable, V = Sendable> implements AsyncDisposable {
  readonly #options: CheckedOptions;
  /** Undefined: records are sent as they are. */
  readonly #serialize: Serialize<K, V> | undefined;
  /** Undefined without `onState`. */
  readonly #teller: StateTeller | undefined;
  readonly #context: ProducerContext;
  readonly #dispatcher: Dispatcher;
  readonly #topics = new Map<string, TopicState>();
  readonly #outstanding = new Set<Batch>();
  readonly #scratch = emptyInput();
  #lastTopic: TopicState | undefined;
  #bufferedBytes = 0;
  #checked = 0;
  #drainWaiters: (() => void)[] = [];
  #waiting: WaitingRecord[] = [];
  #waitingBytes = 0;
  readonly #loading = new Set<Promise<void>>();
  readonly #flushes = new Set<Flush>();
  #failure: MillraceError | undefined;
  #closed = false;

  /** Throws INVALID_REQUEST for an option out of range. */
  constructor(options: ProducerOptions<K, V>, context: ProducerContext) {
    this.#options = checkOptions(options);
    this.#serialize = serializeWith(options);
    this.#context = context;
    const { clientId } = context;
    const acks = acksNumbers[this.#options.acks];
    this.#dispatcher = new Dispatcher({ ...this.#options, clientId, acks }, context, {
      onSplit: (batch, parts) => this.#onSplit(batch, parts),
      onDone: (queue, batch, outcome) => this.#onDone(queue, batch, outcome),
      onLost: (server, error) => this.#teller?.lost(server, error),
    });
    const { onState } = options;
    const { env, metadata } = context;
    const { clock, logger } = env;
    this.#teller =
      onState &&
      new StateTeller({
        ...{ clock, logger, metadata, onState: tellsProducer(onState) },
        heldUp: () => this.#heldUp(),
        partitions: () => this.#used(),
      });
  }

  /** Bytes of records that are not acknowledged yet. */
  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  /**
   * Writes one record; resolves when it is acknowledged. While the buffer is full, records wait in
   * order; once their bytes reach the size of the buffer, rejects with ADMISSION_REJECTED.
   */
  send(record: ProducerRecord<K, V>): Promise<RecordMetadata> {
    const { promise, resolve, reject } = Promise.withResolvers<RecordMetadata>();
    try {
      this.#accept(record, { index: 0, timestampMs: 0, resolve, reject });
    } catch (thrown) {
      reject(MillraceError.from(thrown));
    }
    return promise;
  }

  /**
   * Writes one record without a promise; failures go to `onError`. False means that the buffer is
   * full: the record waits for room, and whoever does not await `drained` before the next one gets
   * ADMISSION_REJECTED in the end, as by `send`. Throws INVALID_RECORD, MESSAGE_TOO_LARGE or
   * INVALID_REQUEST for a record that cannot be written. A partition that the topic does not have
   * is reported to `onError`, once a server was asked for it.
   */
  write(record: ProducerRecord<K, V>): boolean {
    this.#accept(record, undefined);
    return this.#isDrained;
  }

  /** Resolves once the buffer has room, or the producer is closed. Never rejects. */
  drained(): Promise<void> {
    if (this.#isDrained || this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drainWaiters.push(resolve);
    });
  }

  /**
   * Sends everything taken so far without lingering; resolves once every record is acknowledged or
   * failed. Without `onError`, throws the first failure of `write` since the last flush; failures
   * of `send` reach only their promises.
   */
  async flush(): Promise<void> {
    this.#dispatcher.beginFlush();
    try {
      while (this.#waiting.length > 0 || this.#loading.size > 0) {
        if (this.#loading.size > 0) await Promise.all(this.#loading);
        else await this.#settled();
      }
      await this.#settled();
    } finally {
      this.#dispatcher.endFlush();
    }
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  /** Takes no more records, flushes, and ends the streams. Throws what `flush` throws. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.flush();
    } finally {
      this.abort();
    }
  }

  /** Ends the streams at once; records that are not acknowledged fail with CANCELLED. */
  abort(): void {
    this.#closed = true;
    this.#waitingBytes = 0;
    for (const { record, waiter } of this.#waiting.splice(0)) {
      this.#tell(record.topic, undefined, 1, waiter, closedError());
    }
    for (const topic of this.#topics.values()) this.#failUnplaced(topic, closedError());
    this.#teller?.stop();
    this.#dispatcher.stop(closedError());
    this.#tellDrained();
    this.#context.onClosed();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Queues of partitions that records were sent to, or wait for. */
  *#used(): Generator<PartitionQueue, void, undefined> {
    for (const { queues } of this.#topics.values()) {
      for (const queue of queues) {
        if (queue.route !== undefined || queue.batches.length > 0) yield queue;
      }
    }
  }

  #heldUp(): HeldUp[] {
    const found = this.#dispatcher.heldUp(this.#used());
    const error = this.#context.metadata.trouble;
    if (error === undefined) return found;
    for (const { name, unplaced } of this.#topics.values()) {
      if (unplaced !== undefined) found.push({ topic: name, error });
    }
    return found;
  }

  /** Takes the record, or lets it wait for room. Throws for one that cannot be written. */
  #accept(given: ProducerRecord<K, V>, waiter: Waiter | undefined): void {
    if (this.#closed) throw closedError();
    // A look at all keys takes a tenth of all that is done for a record here.
    if (this.#checked < checkedRecords || given?.value === undefined) {
      checkRecord(given);
      this.#checked += 1;
    }
    const record = this.#serialize === undefined ? asSendable(given) : this.#serialize(given);
    if (hasCondition(record)) {
      checkCondition(record, this.#options.acks, waiter !== undefined);
    }
    const bytes = this.#fill(record);
    if (waiter !== undefined) waiter.timestampMs = this.#scratch.timestampMs;
    if (this.#waiting.length === 0 && this.#hasRoom(bytes)) {
      this.#take(record, this.#scratch, bytes, waiter);
    } else this.#waitForRoom(record, bytes, waiter);
  }

  #fill(record: ProducerRecord): number {
    const { partition } = record;
    if (partition !== undefined && !(Number.isInteger(partition) && partition >= 0)) {
      throw badPartition(record.topic, partition);
    }
    const bytes = fillInput(this.#scratch, record, this.#context.env.clock.wallMs());
    if (bytes <= this.#options.bufferBytesMax) return bytes;
    throw new MillraceError(
      ErrorCode.MESSAGE_TOO_LARGE,
      `a record of ${sizeText(bytes)} does not fit the producer's buffer of ` +
        `${sizeText(this.#options.bufferBytesMax)}: send smaller records, or raise bufferBytesMax`,
    );
  }

  get #isDrained(): boolean {
    return this.#waiting.length === 0 && this.#bufferedBytes < this.#options.bufferBytesMax;
  }

  #hasRoom(bytes: number): boolean {
    return this.#bufferedBytes + bytes <= this.#options.bufferBytesMax;
  }

  #waitForRoom(record: ProducerRecord, bytes: number, waiter: Waiter | undefined): void {
    if (this.#waitingBytes + bytes > this.#options.bufferBytesMax) {
      throw new MillraceError(
        ErrorCode.ADMISSION_REJECTED,
        "the producer's buffer is full, and records that wait would fill it again: await drained " +
          "after a write that returned false, and earlier sends",
      );
    }
    const { key, value, headers, timestampMs } = copyInput(this.#scratch);
    const { topic, partition, expectedEndOffset, expectedLastOffsetForKey } = record;
    const conditions = { expectedEndOffset, expectedLastOffsetForKey };
    const kept = { topic, partition, key, value, headers, timestampMs, ...conditions };
    this.#waiting.push({ record: kept, bytes, waiter });
    this.#waitingBytes += bytes;
  }

  #take(record: ProducerRecord, input: MutableInput, bytes: number, waiter?: Waiter): void {
    let topic = this.#lastTopic;
    if (topic === undefined || topic.name !== record.topic) {
      topic = this.#topicOf(record.topic);
      this.#lastTopic = topic;
    }
    if (topic.unplaced === undefined && this.#lacks(topic, record.partition)) this.#load(topic);
    if (topic.unplaced !== undefined) {
      topic.unplaced.push({ record, input: copyInput(input), bytes, waiter });
      this.#bufferedBytes += bytes;
      return;
    }
    this.#place(topic, record, input, bytes, waiter);
    this.#bufferedBytes += bytes;
  }

  #place(
    topic: TopicState,
    record: ProducerRecord,
    input: MutableInput,
    bytes: number,
    waiter: Waiter | undefined,
  ): void {
    const partition = this.#choose(topic, record, input);
    const queue = must(topic.queues[partition], "queue of a partition");
    const isAlone = hasCondition(record);
    let batch = queue.open;
    if (batch?.builder !== undefined) {
      if (isAlone || batch.builder.sizeBytes + bytes > topic.limits.batchBytesMax) {
        this.#close(topic, queue, batch);
        batch = undefined;
      }
    }
    if (batch === undefined) {
      batch = this.#dispatcher.openBatch(queue);
      this.#outstanding.add(batch);
      if (isAlone) setCondition(batch, record);
    }
    const builder = must(batch.builder, "builder of an open batch");
    builder.append(input);
    if (waiter !== undefined) {
      waiter.index = batch.recordCount;
      batch.waiters.push(waiter);
    }
    batch.recordCount += 1;
    batch.bytes += bytes;
    const isFull = builder.sizeBytes >= topic.limits.batchBytesMax;
    if (isAlone || isFull) this.#close(topic, queue, batch);
    this.#dispatcher.schedule(queue);
  }

  #close(topic: TopicState, queue: PartitionQueue, batch: Batch): void {
    this.#dispatcher.seal(queue, batch);
    if (topic.sticky === queue.partition) topic.sticky = -1;
  }

  #choose(topic: TopicState, record: ProducerRecord, input: MutableInput): number {
    this.#follow(topic);
    const count = topic.partitionCount;
    const { partitioner } = this.#options;
    if (record.partition === undefined && partitioner === undefined) {
      if (input.key !== undefined) return partitionOfKey(input.key, count);
      return this.#stickyPartition(topic);
    }
    const partition = record.partition ?? partitioner?.(record, count) ?? 0;
    if (Number.isInteger(partition) && partition >= 0 && partition < count) return partition;
    throw badPartition(topic.name, partition);
  }

  /** The partition of the open keyless batch, or a random one that has a leader, if any has. */
  #stickyPartition(topic: TopicState): number {
    const current = topic.queues[topic.sticky];
    if (current?.open !== undefined) return topic.sticky;
    const { env, metadata } = this.#context;
    const count = topic.partitionCount;
    topic.sticky = env.random.below(count);
    for (let tries = 0; tries < count; tries += 1) {
      if (metadata.leaderOf(topic.name, topic.sticky) !== undefined) break;
      topic.sticky = (topic.sticky + 1) % count;
    }
    return topic.sticky;
  }

  /** Follows the metadata: partitions may have been added, or the topic recreated. */
  #follow(topic: TopicState): void {
    const { metadata } = this.#context;
    if (topic.version === metadata.version) return;
    topic.version = metadata.version;
    const info = metadata.peek(topic.name);
    // A deleted topic keeps its count: its batches fail by themselves, unless it is recreated.
    if (info === undefined) return;
    if (!isSameTopic(info.topicId, topic.topicId)) {
      topic.topicId = info.topicId;
      topic.limits.batchBytesMax = this.#options.batchBytesMax;
    }
    topic.partitionCount = info.partitions.length;
    if (topic.sticky >= topic.partitionCount) topic.sticky = -1;
    for (let next = topic.queues.length; next < topic.partitionCount; next += 1) {
      topic.queues.push(new PartitionQueue(topic.name, next, topic.limits));
    }
  }

  /** True when the metadata, which may be stale, do not show the partition. */
  #lacks(topic: TopicState, partition: number | undefined): boolean {
    if (partition === undefined) return false;
    this.#follow(topic);
    return partition >= topic.partitionCount;
  }

  #topicOf(name: string): TopicState {
    let topic = this.#topics.get(name);
    if (topic === undefined) {
      checkTopic(name);
      const { batchBytesMax } = this.#options;
      topic = {
        name,
        limits: { batchBytesMax },
        topicId: new Uint8Array(0),
        version: -1,
        partitionCount: 0,
        queues: [],
        sticky: -1,
        unplaced: undefined,
      };
      this.#topics.set(name, topic);
      this.#load(topic);
    }
    return topic;
  }

  /** Asks for the topic's metadata. Records of the topic wait for the answer. */
  #load(topic: TopicState): void {
    topic.unplaced = [];
    const loading = this.#loadNow(topic).finally(() => this.#loading.delete(loading));
    this.#loading.add(loading);
  }

  /** Never rejects. */
  async #loadNow(topic: TopicState): Promise<void> {
    const { metadata } = this.#context;
    try {
      await metadata.topic(topic.name);
      const lacks = topic.unplaced?.some(({ record }) => this.#lacks(topic, record.partition));
      if (lacks === true) await metadata.freshTopic(topic.name);
      const unplaced = topic.unplaced ?? [];
      topic.unplaced = undefined;
      const failed: (() => void)[] = [];
      for (const { record, input, bytes, waiter } of unplaced) {
        try {
          this.#place(topic, record, input, bytes, waiter);
        } catch (thrown) {
          failed.push(() => {
            this.#release(bytes);
            this.#tell(topic.name, undefined, 1, waiter, MillraceError.from(thrown));
          });
        }
      }
      // Only now: freed room admits waiting sends, which must not overtake unplaced records.
      for (const fail of failed) fail();
    } catch (thrown) {
      this.#failUnplaced(topic, MillraceError.from(thrown));
      topic.unplaced = undefined;
      // A second set of queues for the topic would break the order of its records.
      if (topic.queues.length > 0) return;
      this.#topics.delete(topic.name);
      if (this.#lastTopic === topic) this.#lastTopic = undefined;
    }
  }

  #failUnplaced(topic: TopicState, error: MillraceError): void {
    const unplaced = topic.unplaced?.splice(0) ?? [];
    let quiet = 0;
    for (const { bytes, waiter } of unplaced) {
      this.#release(bytes);
      if (waiter === undefined) quiet += 1;
      else waiter.reject(error);
    }
    if (quiet > 0) this.#tell(topic.name, undefined, quiet, undefined, error);
  }

  #tell(
    topic: string,
    partition: number | undefined,
    recordCount: number,
    waiter: Waiter | undefined,
    error: MillraceError,
  ): void {
    if (waiter !== undefined) {
      waiter.reject(error);
      return;
    }
    const batch: FailedBatch = { topic, partition, recordCount };
    if (this.#options.onError !== undefined) this.#options.onError(error, batch);
    else this.#failure ??= error;
  }

  #onSplit(batch: Batch, parts: readonly Batch[]): void {
    const batchSets = [this.#outstanding, ...[...this.#flushes].map(({ batches }) => batches)];
    for (const batches of batchSets) {
      if (batches.delete(batch)) for (const part of parts) batches.add(part);
    }
  }

  #onDone(queue: PartitionQueue, batch: Batch, outcome: WireProduceResult | MillraceError): void {
    const { topic, partition } = queue;
    if (outcome instanceof MillraceError) {
      for (const waiter of batch.waiters) waiter.reject(outcome);
      const quiet = batch.recordCount - batch.waiters.length;
      if (quiet > 0) this.#tell(topic, partition, quiet, undefined, outcome);
    } else if (batch.waiters.length > 0) {
      const guarantee = guaranteeNames[outcome.guarantee] ?? "received";
      const base = outcome.baseOffset ?? 0;
      for (const { index, timestampMs, resolve } of batch.waiters) {
        resolve({ topic, partition, offset: BigInt(base + index), timestampMs, guarantee });
      }
    }
    this.#outstanding.delete(batch);
    this.#release(batch.bytes);
    for (const flush of this.#flushes) {
      flush.batches.delete(batch);
      if (flush.batches.size > 0) continue;
      this.#flushes.delete(flush);
      flush.resolve();
    }
  }

  /** Resolves when all batches that exist now are acknowledged or failed. */
  #settled(): Promise<void> {
    if (this.#outstanding.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#flushes.add({ batches: new Set(this.#outstanding), resolve });
    });
  }

  #release(bytes: number): void {
    this.#bufferedBytes -= bytes;
    this.#admitWaiting();
    if (this.#isDrained) this.#tellDrained();
  }

  #tellDrained(): void {
    if (this.#drainWaiters.length === 0) return;
    for (const resolve of this.#drainWaiters.splice(0)) resolve();
  }

  #admitWaiting(): void {
    let admitted = 0;
    for (const { record, bytes, waiter } of this.#waiting) {
      if (!this.#hasRoom(bytes)) break;
      admitted += 1;
      this.#waitingBytes -= bytes;
      try {
        fillInput(this.#scratch, record, record.timestampMs ?? 0);
        this.#take(record, this.#scratch, bytes, waiter);
      } catch (thrown) {
        this.#tell(record.topic, undefined, 1, waiter, MillraceError.from(thrown));
      }
    }
    if (admitted > 0) this.#waiting.splice(0, admitted);
  }
}

/** Without serializers, keys and values are what can be sent: see `ProducerOptionsFor`. */
const asSendable = <K, V>(record: ProducerRecord<K, V>): ProducerRecord =>
  record as ProducerRecord<K & Sendable, V & Sendable>;

const badPartition = (topic: string, partition: number): MillraceError =>
  new MillraceError(
    ErrorCode.INVALID_REQUEST,
    `topic ${JSON.stringify(topic)} has no partition ${partition}: check the partition number`,
  );

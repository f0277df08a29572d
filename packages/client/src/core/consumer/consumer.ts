/** The consumer: assigned partitions in, records out, in offset order per partition. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { Isolation } from "@millrace/proto/common";
import { backoffRangeMs } from "../backoff.ts";
import { checkFields, inRange, oneOf } from "../checks.ts";
import { closedError } from "../failures.ts";
import { isSameTopic } from "../metadata/index.ts";
import { resolvePosition } from "../offsets.ts";
import { type HeldUp, StateTeller } from "../state.ts";
import type {
  Assignment,
  ConsumedBatch,
  ConsumedRecord,
  ConsumerOptions,
  PartitionOffset,
  Position,
  Seek,
  TopicPartition,
} from "../types.ts";
import { GroupControl, type PartitionControl } from "./control.ts";
import { Cursor, cursorKey as key, type StartingPoint } from "./cursor.ts";
import { decodeNext } from "./decode.ts";
import { InHand } from "./in-hand.ts";
import { Leaders, type LeadersContext, lookupTimeoutMs } from "./leaders.ts";
import { checkAssignments, checkOptions, checkPlace, checkSeek } from "./options.ts";
import { type MakeRecord, recordMaker } from "./record.ts";

export interface ConsumerContext extends LeadersContext {
  readonly onClosed: () => void;
  /** For a group, which says what is read. */
  readonly group?: {
    /** Takes the control of the partitions, before the constructor returns. */
    readonly control: (control: PartitionControl) => void;
    /** Why the group gives no partitions, and for which topics. */
    readonly heldUp: () => readonly HeldUp[];
  };
}

/** What ends an iteration. */
export interface IterationOptions {
  /** When aborted, the iteration throws CANCELLED. */
  readonly signal?: AbortSignal;
}

interface Expanded {
  readonly wholeTopics: ReadonlySet<string>;
  readonly partitions: readonly { topic: string; partition: number; from: Position }[];
}

/**
 * Reads assigned partitions. One iteration at a time; `seek`, `pause` and `assign` may be called
 * meanwhile, and nothing of an older position is handed out after they are.
 *
 * A record counts as consumed when it is handed out. Leaving an iteration by `break`, an exception
 * or an abort loses nothing: the next iteration continues after the last record handed out. After
 * an error, the next iteration tries the partition again, and throws again if the error persists.
 */
export class Consumer<K = Uint8Array, V = Uint8Array> implements AsyncDisposable {
  readonly #context: ConsumerContext;
  /** Undefined: records are handed out as they were read. */
  readonly #makeRecord: MakeRecord<K, V> | undefined;
  /** The topic of the options, until something is assigned. */
  #unassigned: Assignment | undefined;
  #assigning: Promise<void> | undefined;
  readonly #untilEnd: boolean;
  readonly #bufferBytesMax: number;
  readonly #inflatedBytesMax: number;
  readonly #leaders: Leaders;
  /** Undefined without `onState`. */
  readonly #teller: StateTeller | undefined;
  /** Topics of assignments whose start is being looked up. */
  readonly #starting = new Set<readonly Assignment[]>();
  readonly #cursors = new Map<string, Cursor>();
  /** Topics assigned as a whole, whose new partitions are read too. */
  #wholeTopics: ReadonlySet<string> = new Set();
  /** New partitions whose first offset is being looked up. */
  readonly #adding = new Set<string>();
  /** Failed cursors whose error was thrown to the application. */
  readonly #told = new WeakSet<Cursor>();
  readonly #stopFollowing: () => void;
  #cancelRetry: () => void = () => {};
  /** Index of the cursor that is asked first for the next batch. */
  #turn = 0;
  #iterating = false;
  #closed = false;
  #wake: (() => void) | undefined;
  readonly #inHand = new InHand();
  /** Why no iteration goes on. */
  #failure: MillraceError | undefined;

  /** Throws INVALID_REQUEST for an option out of range. */
  constructor(options: ConsumerOptions<K, V>, context: ConsumerContext) {
    checkOptions(options);
    this.#context = context;
    this.#makeRecord = recordMaker(options);
    const { topic, from } = options;
    if (topic !== undefined) this.#unassigned = { topic, ...(from === undefined ? {} : { from }) };
    const { bufferBytesMax = 32 * 1024 * 1024, inflatedBytesMax = 64 * 1024 * 1024 } = options;
    this.#bufferBytesMax = inRange("bufferBytesMax", bufferBytesMax, 1024, 2 ** 40);
    this.#inflatedBytesMax = inRange("inflatedBytesMax", inflatedBytesMax, 1024, 2 ** 31);
    this.#untilEnd = options.untilEnd === true;
    const levels = ["read_uncommitted", "read_committed"] as const;
    const level = oneOf("isolation", options.isolation ?? "read_uncommitted", levels);
    const policies = ["error", "earliest", "latest"] as const;
    this.#leaders = new Leaders(context, {
      isolation: level === "read_committed" ? Isolation.READ_COMMITTED : Isolation.READ_UNCOMMITTED,
      onOutOfRange: oneOf("onOutOfRange", options.onOutOfRange ?? "error", policies),
      onNews: () => this.#notify(),
      onLost: (server, error) => this.#teller?.lost(server, error),
    });
    const { onState } = options;
    const { clock, metadata } = context;
    this.#teller =
      onState &&
      new StateTeller({
        ...{ clock, logger: context.env.logger, metadata, onState },
        heldUp: () => this.#heldUp(),
        partitions: () => this.#cursors.values(),
        awaited: () => this.#awaited(),
      });
    this.#stopFollowing = context.metadata.onChange(() => this.#addNewPartitions());
    context.group?.control(this.#control());
  }

  /** Bytes fetched and not yet taken; within `bufferBytesMax` but for one batch per partition. */
  get bufferedBytes(): number {
    let bytes = 0;
    for (const cursor of this.#cursors.values()) bytes += cursor.bufferedBytes;
    return bytes;
  }

  /**
   * Reads exactly these partitions from now on. Resolves once their start is known; until then, and
   * when it throws, what was assigned before stays. Throws INVALID_REQUEST for a partition that is
   * named twice, UNKNOWN_TOPIC_OR_PARTITION.
   */
  async assign(assignments: readonly Assignment[]): Promise<void> {
    this.#check();
    checkAssignments(assignments);
    this.#starting.add(assignments);
    try {
      await this.#replace(assignments);
    } finally {
      this.#starting.delete(assignments);
    }
  }

  async #replace(assignments: readonly Assignment[]): Promise<void> {
    const { wholeTopics, partitions } = await this.#expand(assignments);
    const cursors = await Promise.all(
      partitions.map(({ topic, partition, from }) => this.#start(topic, partition, from)),
    );
    this.#check();
    this.#unassigned = undefined;
    for (const cursor of this.#cursors.values()) cursor.drop();
    this.#cursors.clear();
    for (const cursor of cursors) this.#cursors.set(key(cursor.topic, cursor.partition), cursor);
    // With `untilEnd`, the partitions and their ends are those of the assignment.
    this.#wholeTopics = this.#untilEnd ? new Set() : wholeTopics;
    this.#shareBuffer();
    for (const cursor of cursors) this.#leaders.attach(cursor);
    this.#addNewPartitions();
    this.#notify();
  }

  /** Moves an assigned partition to another position. */
  async seek(place: Seek): Promise<void> {
    checkSeek(place);
    await this.#assigned();
    const { topic, partition, to } = place;
    const old = this.#require("seek", place);
    await this.#context.metadata.freshTopic(topic);
    const start = await this.#startingPoint(topic, partition, to);
    if (this.#cursors.get(key(topic, partition)) !== old) return;
    const { endOffset } = isSameTopic(start.topicId, old.topicId) ? old : start;
    // Past the end of the iteration, but inside the log: the partition is finished.
    const behindEnd = start.offset > endOffset && start.offset <= start.endOffset;
    const cursor = new Cursor(topic, partition, {
      ...start,
      endOffset: behindEnd ? start.offset : endOffset,
    });
    cursor.paused = old.paused;
    cursor.held = old.held;
    cursor.capacityBytes = old.capacityBytes;
    old.drop();
    this.#cursors.set(key(topic, partition), cursor);
    this.#leaders.attach(cursor);
    this.#notify();
  }

  /** Stops handing out and fetching records of the partition. Buffered records are kept. */
  pause(place: TopicPartition): void {
    this.#require("pause", place).paused = true;
  }

  resume(place: TopicPartition): void {
    const cursor = this.#require("resume", place);
    cursor.paused = false;
    if (cursor.state.name === "attached") cursor.state.attachment.grant();
    this.#notify();
  }

  /** Per assigned partition, the offset after the last record handed out. */
  positions(): PartitionOffset[] {
    return [...this.#cursors.values()].map(({ topic, partition, position }) => ({
      topic,
      partition,
      offset: BigInt(position),
    }));
  }

  /** Per assigned partition, the high watermark now, asked of its leader. */
  async endOffsets(): Promise<PartitionOffset[]> {
    await this.#assigned();
    return Promise.all(
      [...this.#cursors.values()].map(async ({ topic, partition }) => {
        const { offset } = await this.#resolve(topic, partition, "latest");
        return { topic, partition, offset: BigInt(offset) };
      }),
    );
  }

  /** Batches of records as they come, partitions in turn. The position moves with each batch. */
  async *batches(
    options: IterationOptions = {},
  ): AsyncGenerator<ConsumedBatch<K, V>, void, undefined> {
    for await (const cursor of this.#turns("batches", options)) {
      const highWatermark = BigInt(cursor.openBatch?.highWatermark ?? 0);
      const records = this.#takeBatch(cursor);
      if (records.length === 0) continue;
      const { topic, partition, position } = cursor;
      this.#inHand.take(cursor, records[0]?.offset ?? 0n);
      yield { topic, partition, records, nextOffset: BigInt(position), highWatermark };
      this.#inHand.movePast();
    }
  }

  /** Records one by one. The position moves with each record. */
  async *records(
    options: IterationOptions = {},
  ): AsyncGenerator<ConsumedRecord<K, V>, void, undefined> {
    for await (const cursor of this.#turns("records", options)) {
      while (options.signal?.aborted !== true) {
        const record = this.#takeRecord(cursor);
        if (record === undefined) break;
        this.#inHand.take(cursor, record.offset);
        yield record;
        this.#inHand.movePast();
      }
    }
  }

  /** Ends the streams and any iteration that waits. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#teller?.stop();
    this.#stopFollowing();
    this.#cancelRetry();
    for (const cursor of this.#cursors.values()) cursor.drop();
    this.#leaders.stop();
    this.#context.onClosed();
    this.#notify();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** What a group does with the partitions. */
  #control(): PartitionControl {
    return new GroupControl({
      ...{ cursors: this.#cursors, leaders: this.#leaders, inHand: this.#inHand },
      startOf: async ({ topic, partition, from, topicId }) => {
        await this.#context.metadata.topic(topic);
        this.#check();
        if (typeof from !== "object" || !("offset" in from)) {
          return this.#startingPoint(topic, partition, from);
        }
        return { topicId, offset: Number(from.offset), endOffset: Number.POSITIVE_INFINITY };
      },
      isIterating: () => this.#iterating,
      changed: () => {
        this.#shareBuffer();
        this.#notify();
      },
      fail: (error) => {
        this.#failure = error;
        this.#notify();
      },
    });
  }

  #throwFailure(): void {
    const error = this.#failure;
    this.#failure = undefined;
    if (error !== undefined) throw error;
  }

  #takeRecord(cursor: Cursor): ConsumedRecord<K, V> | undefined {
    const make = this.#makeRecord;
    if (make === undefined) return asRead(cursor.takeRecord());
    const next = cursor.nextRecord;
    if (next === undefined) return undefined;
    // One that cannot be made is still the next one afterwards.
    const record = make(next);
    cursor.takeRecord();
    return record;
  }

  /**
   * The rest of the open batch, or what comes before the first record that cannot be made. Throws
   * when that is the first one of all.
   */
  #takeBatch(cursor: Cursor): readonly ConsumedRecord<K, V>[] {
    const make = this.#makeRecord;
    if (make === undefined) return asRead(cursor.takeRest());
    const records: ConsumedRecord<K, V>[] = [];
    for (let next = cursor.nextRecord; next !== undefined; next = cursor.nextRecord) {
      try {
        records.push(make(next));
      } catch (thrown) {
        if (records.length === 0) throw thrown;
        break;
      }
      cursor.takeRecord();
    }
    return records;
  }

  /** Assigns the topic of the options, unless something was assigned. */
  async #assigned(): Promise<void> {
    const topic = this.#unassigned;
    if (topic === undefined) return;
    this.#assigning ??= this.assign([topic]).finally(() => {
      this.#assigning = undefined;
    });
    await this.#assigning;
  }

  /** As `#assigned`. False: the consumer was closed meanwhile. Throws CANCELLED when aborted. */
  async #assignedOrClosed(signal: AbortSignal | undefined): Promise<boolean> {
    const aborted = Promise.withResolvers<never>();
    const onAbort = (): void => aborted.reject(cancelled(signal?.reason));
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await Promise.race([aborted.promise, this.#assigned()]);
      return true;
    } catch (thrown) {
      if (this.#closed) return false;
      throw thrown;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Yields cursors with an open batch, partitions in turn. */
  async *#turns(where: string, options: IterationOptions): AsyncGenerator<Cursor, void, undefined> {
    checkFields(`consumer.${where}`, options, { signal: "any?" });
    const { signal } = options;
    this.#check();
    if (this.#iterating) {
      throw new MillraceError(
        ErrorCode.INVALID_REQUEST,
        "the consumer is being iterated already: end that iteration first",
      );
    }
    this.#iterating = true;
    this.#inHand.movePast();
    const onAbort = (): void => this.#notify();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      if (this.#unassigned !== undefined && !(await this.#assignedOrClosed(signal))) return;
      this.#retryFailed();
      for (;;) {
        if (signal?.aborted === true) throw cancelled(signal.reason);
        if (this.#closed) return;
        this.#throwFailure();
        const cursor = this.#next();
        if (cursor !== undefined) {
          if (await this.#openBatch(cursor)) yield cursor;
        } else if (this.#done()) return;
        else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      this.#iterating = false;
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** What is held up now, for `onState`. */
  #heldUp(): HeldUp[] {
    this.#leaders.probeQuiet();
    const nowMs = this.#context.clock.monoMs();
    const found: HeldUp[] = [];
    for (const cursor of this.#cursors.values()) {
      const { topic, partition } = cursor;
      const error = cursor.heldUpBy(nowMs);
      if (error !== undefined) found.push({ topic, partition, error });
    }
    found.push(...(this.#context.group?.heldUp() ?? []));
    const error = this.#context.metadata.trouble;
    if (error === undefined) return found;
    for (const assignments of this.#starting) {
      for (const { topic } of assignments) found.push({ topic, error });
    }
    return found;
  }

  /** How much was handed out, when an iteration waits and everything that is there was. */
  #awaited(): number | undefined {
    if (this.#wake === undefined || this.#cursors.size === 0) return undefined;
    if (this.#leaders.isDoubtful) return undefined;
    let count = 0;
    for (const { position, highWatermark, paused } of this.#cursors.values()) {
      if (!paused && position < highWatermark) return undefined;
      count += position;
    }
    return count;
  }

  /** Attaches the partitions whose error the application has seen. */
  #retryFailed(): void {
    for (const cursor of this.#cursors.values()) {
      if (cursor.state.name !== "failed" || !this.#told.delete(cursor)) continue;
      cursor.failures = 0;
      this.#leaders.attach(cursor);
    }
  }

  /** The next cursor in turn that has a batch or an error. */
  #next(): Cursor | undefined {
    const cursors = [...this.#cursors.values()];
    for (let step = 0; step < cursors.length; step += 1) {
      const at = (this.#turn + step) % cursors.length;
      const cursor = cursors[at];
      if (cursor?.ready !== true) continue;
      this.#turn = at + 1;
      return cursor;
    }
    return undefined;
  }

  #done(): boolean {
    if (!this.#untilEnd) return false;
    for (const cursor of this.#cursors.values()) if (!cursor.finished) return false;
    return true;
  }

  /** Decodes the next batch unless one is open. False when there are no records to hand out. */
  async #openBatch(cursor: Cursor): Promise<boolean> {
    if (cursor.openBatch !== undefined) return true;
    const { chunk } = cursor;
    if (chunk === undefined) {
      const error = this.#leaders.takeError(cursor);
      if (error === undefined) return false;
      this.#told.add(cursor);
      throw error;
    }
    const { compressor } = this.#context.env;
    const decoded = await decodeNext(cursor, chunk, compressor, this.#inflatedBytesMax);
    if (cursor.chunk !== chunk) return false;
    cursor.open(chunk, decoded);
    return true;
  }

  /** Resolves whole topics to their partitions, and rejects duplicates. */
  async #expand(assignments: readonly Assignment[]): Promise<Expanded> {
    const { metadata } = this.#context;
    const topics = new Set(assignments.map(({ topic }) => topic));
    const infos = await Promise.all([...topics].map((topic) => metadata.freshTopic(topic)));
    const counts = new Map(infos.map(({ name, partitions }) => [name, partitions.length]));
    const wholeTopics = new Set<string>();
    const partitions = new Map<string, Expanded["partitions"][number]>();
    for (const { topic, partition, from = "latest" } of assignments) {
      const count = counts.get(topic) ?? 0;
      if (partition === undefined) wholeTopics.add(topic);
      const named =
        partition === undefined ? Array.from({ length: count }, (_, i) => i) : [partition];
      for (const one of named) {
        if (partitions.has(key(topic, one))) throw namedTwice(topic, one);
        partitions.set(key(topic, one), { topic, partition: one, from });
      }
    }
    return { wholeTopics, partitions: [...partitions.values()] };
  }

  /** Reads partitions that were added to topics assigned as a whole, from their beginning. */
  #addNewPartitions(): void {
    if (this.#closed) return;
    for (const topic of this.#wholeTopics) {
      const count = this.#context.metadata.peek(topic)?.partitions.length ?? 0;
      for (let partition = 0; partition < count; partition += 1) {
        const name = key(topic, partition);
        if (this.#cursors.has(name) || this.#adding.has(name)) continue;
        this.#adding.add(name);
        void this.#addPartition(topic, partition).finally(() => this.#adding.delete(name));
      }
    }
  }

  /** Never rejects. After a failure it is tried again. */
  async #addPartition(topic: string, partition: number): Promise<void> {
    const wholeTopics = this.#wholeTopics;
    const { logger } = this.#context.env;
    try {
      const cursor = await this.#start(topic, partition, "earliest");
      if (this.#closed || this.#wholeTopics !== wholeTopics) return;
      this.#cursors.set(key(topic, partition), cursor);
      this.#shareBuffer();
      this.#leaders.attach(cursor);
      this.#notify();
    } catch (thrown) {
      logger.warn({ err: thrown, topic, partition }, "a new partition cannot be read yet");
      this.#cancelRetry();
      if (this.#closed) return;
      const { clock } = this.#context;
      this.#cancelRetry = clock.timer(backoffRangeMs.max, () => this.#addNewPartitions());
    }
  }

  /** Divides the buffer evenly among the assigned partitions. */
  #shareBuffer(): void {
    const share = Math.floor(this.#bufferBytesMax / Math.max(1, this.#cursors.size));
    for (const cursor of this.#cursors.values()) cursor.capacityBytes = Math.max(1, share);
  }

  async #start(topic: string, partition: number, from: Position): Promise<Cursor> {
    return new Cursor(topic, partition, await this.#startingPoint(topic, partition, from));
  }

  /** Resolves a position, and with `untilEnd` the end of the log. */
  async #startingPoint(topic: string, partition: number, from: Position): Promise<StartingPoint> {
    for (;;) {
      const [start, end] = await Promise.all([
        this.#resolve(topic, partition, from),
        this.#untilEnd ? this.#resolve(topic, partition, "latest") : undefined,
      ]);
      if (end === undefined) return { ...start, endOffset: Number.POSITIVE_INFINITY };
      // Otherwise the topic was recreated between the two answers: ask again.
      if (isSameTopic(start.topicId, end.topicId)) return { ...start, endOffset: end.offset };
    }
  }

  #resolve(topic: string, partition: number, position: Position) {
    return resolvePosition(this.#context, topic, partition, position, lookupTimeoutMs);
  }

  #require(where: string, place: TopicPartition): Cursor {
    this.#check();
    if (where !== "seek") checkPlace(where, place);
    const { topic, partition } = place;
    const cursor = this.#cursors.get(key(topic, partition));
    if (cursor !== undefined) return cursor;
    throw new MillraceError(
      ErrorCode.INVALID_REQUEST,
      `${where} of ${topic}-${partition}, which is not assigned: assign it first`,
    );
  }

  #check(): void {
    if (this.#closed) throw closedError();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

const cancelled = (reason: unknown): MillraceError =>
  new MillraceError(ErrorCode.CANCELLED, "the iteration was aborted", { cause: reason });

const namedTwice = (topic: string, partition: number): MillraceError =>
  new MillraceError(
    ErrorCode.INVALID_REQUEST,
    `${topic}-${partition} is assigned twice: name every partition once`,
  );

/** Without deserializers, keys and values are bytes: see `ConsumerOptionsFor`. */
const asRead = <R>(read: unknown): R => read as R;

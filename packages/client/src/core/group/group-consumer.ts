/** The consumer in a group: the group says which partitions it reads, and remembers how far. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { Consumer, type IterationOptions } from "../consumer/consumer.ts";
import type { PartitionControl } from "../consumer/control.ts";
import type { LeadersContext } from "../consumer/leaders.ts";
import { closedError } from "../failures.ts";
import type { HeldUp } from "../state.ts";
import type {
  ConsumedBatch,
  ConsumedRecord,
  ConsumerOptions,
  PartitionOffset,
  Seek,
  TopicPartition,
} from "../types.ts";
import { Commits } from "./commits.ts";
import { KeyedWork } from "./keyed-work.ts";
import { Liveness } from "./liveness.ts";
import { Membership } from "./membership.ts";
import { checkCommit, type GroupSettings, groupSettings } from "./options.ts";
import { Reconciler } from "./reconciler.ts";
import type {
  GroupConsumerOptions,
  GroupConsumerState,
  OffsetCommit,
  PartitionLag,
} from "./types.ts";

export interface GroupConsumerContext extends LeadersContext {
  readonly onClosed: () => void;
}

/** How long `close` waits for the body of a loop that runs, milliseconds. */
const bodyMs = 5_000;
/** How long `close` waits for a coordinator that is not there already, milliseconds. */
const goneMs = 1_000;

/**
 * Reads the partitions that its group gives it. It joins with the first call that reads.
 *
 * A record counts as processed once the loop has asked for the next one: a record whose loop body
 * threw or was left is not committed, and some member gets it again.
 */
export class GroupConsumer<K = Uint8Array, V = Uint8Array> implements AsyncDisposable {
  readonly group: string;
  readonly #options: GroupConsumerOptions<K, V>;
  readonly #settings: GroupSettings;
  readonly #context: GroupConsumerContext;
  readonly #inner: Consumer<K, V>;
  readonly #control: PartitionControl;
  readonly #reconciler: Reconciler;
  readonly #commits: Commits;
  readonly #work: KeyedWork<ConsumedRecord<K, V>>;
  readonly #liveness: Liveness;
  /** Undefined before the first iteration, and after the member has left. */
  #membership: Membership | undefined;
  #closing: Promise<void> | undefined;

  /** Throws INVALID_REQUEST for an option that is unknown, or out of range. */
  constructor(options: GroupConsumerOptions<K, V>, context: GroupConsumerContext) {
    const settings = groupSettings(options);
    this.group = options.group;
    this.#options = options;
    this.#settings = settings;
    this.#context = context;
    const { clock, random } = context;
    let control: PartitionControl | undefined;
    this.#inner = new Consumer(innerOptions(options), {
      ...context,
      group: {
        control: (given) => {
          control = given;
        },
        heldUp: () => this.#heldUp(),
      },
    });
    if (control === undefined) throw closedError();
    this.#control = control;
    const inner = this.#inner;
    this.#work = new KeyedWork({ inner, perPartition: settings.perPartition });
    this.#commits = new Commits({
      ...{ clock, logger: context.env.logger, control, settings },
      heldBy: (place) => this.#reconciler.committable(place),
      unfinished: (place) => this.#work.firstUnfinished(place),
      membership: () => this.#membership,
    });
    this.#reconciler = new Reconciler({
      ...{ clock, random, logger: context.env.logger, control, from: settings.from },
      callbacks: options,
      report: (revision, owned, stream) => this.#membership?.report(revision, owned, stream),
      commit: (partitions) =>
        settings.autoCommit ? this.#commits.movedPast(partitions) : Promise.resolve(),
      settle: (partitions) => this.#work.settle(partitions),
      forget: (partitions) => this.#work.forget(partitions),
    });
    this.#liveness = new Liveness({
      ...{ clock, maxMs: settings.maxProcessingMs },
      progress: () => this.#control.asks() + this.#work.done,
      isIdle: () => this.#control.isAsking() && this.#work.isQuiet,
      onSlow: (ms) => this.#tellSlow(ms),
      onStuck: (ms) => this.#leaveStuck(ms),
    });
  }

  /** Id that the group has given to this member; "" before it has joined. */
  get memberId(): string {
    return this.#membership?.memberId ?? "";
  }

  /** Bytes fetched and not yet taken; within `bufferBytesMax` but for one batch per partition. */
  get bufferedBytes(): number {
    return this.#inner.bufferedBytes;
  }

  /** Partitions that this member has now. */
  assignment(): TopicPartition[] {
    return this.#reconciler.assigned;
  }

  /** Records one by one. Joins the group. */
  records(options: IterationOptions = {}): AsyncGenerator<ConsumedRecord<K, V>, void, undefined> {
    this.#join();
    return this.#inner.records(options);
  }

  /** Batches of records of a partition. Joins the group. A batch is processed as a whole. */
  batches(options: IterationOptions = {}): AsyncGenerator<ConsumedBatch<K, V>, void, undefined> {
    this.#join();
    return this.#inner.batches(options);
  }

  /**
   * Calls `handler` for every record, several at once in each partition (`concurrency`): records of
   * one key one after another. Offsets are committed up to the first that is unfinished. Rejects
   * with what a handler throws, once those that run have ended; the record is not lost.
   */
  async process(
    handler: (record: ConsumedRecord<K, V>) => Promise<void> | void,
    options: IterationOptions = {},
  ): Promise<void> {
    this.#join();
    await this.#work.run(handler, options);
  }

  /**
   * Commits all positions that the loop has moved past, or one offset. Resolves once the group has
   * it. Throws what the group refuses: PARTITION_NOT_ASSIGNED, POSITION_RESET,
   * UNKNOWN_TOPIC_OR_PARTITION, OFFSET_METADATA_TOO_LARGE.
   */
  async commit(offset?: OffsetCommit): Promise<void> {
    if (offset !== undefined) checkCommit(offset);
    this.#check();
    await (offset === undefined ? this.#commits.movedPast() : this.#commits.one(offset));
  }

  /** Stops handing out and fetching records of the partition. Buffered records are kept. */
  pause(place: TopicPartition): void {
    this.#inner.pause(place);
    this.#work.paused(place);
  }

  resume(place: TopicPartition): void {
    if (this.#work.resumed(place)) this.#inner.resume(place);
  }

  /** Moves a partition of this member to another position. */
  async seek(place: Seek): Promise<void> {
    this.#work.forget([place]);
    this.#commits.forgetAhead(place);
    await this.#inner.seek(place);
  }

  /** Per partition of this member, the first offset that the loop has not moved past. */
  positions(): PartitionOffset[] {
    return this.#commits.positions();
  }

  /** Per partition of this member, how far it is behind, as far as the consumer has heard. */
  lag(): PartitionLag[] {
    return this.#commits.lag();
  }

  /**
   * Commits what the loop has moved past, and leaves the group; static members temporarily. Waits
   * for the body of a loop that runs, for five seconds at most: leave the loop before.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#liveness.stop();
    this.#commits.stop();
    const membership = this.#membership;
    if (membership !== undefined) {
      this.#work.stop();
      // A coordinator that is gone answers no commit: then the goodbye ends the wait.
      const patienceMs = membership.trouble === undefined ? 2 * bodyMs : goneMs;
      const gone = this.#context.clock.timer(
        patienceMs,
        () => void membership.leave(this.#farewell),
      );
      await this.#reconciler.giveUp(bodyMs);
      gone();
      await membership.leave(this.#farewell);
    }
    this.#work.forgetAll();
    await this.#inner.close();
  }

  get #farewell(): { readonly temporary: boolean } {
    return { temporary: (this.#options.instanceId ?? "") !== "" };
  }

  #join(): void {
    this.#check();
    if (this.#membership !== undefined) return;
    const { group, instanceId = "", rackId = "", topicPattern = "", topics = [] } = this.#options;
    const { assignor = "" } = this.#options;
    const { rebalanceTimeoutMs, sessionTimeoutMs } = this.#settings;
    const { clientId, clock, connections, metadata, random } = this.#context;
    const { logger } = this.#context.env;
    const reconciler = this.#reconciler;
    const membership: Membership = new Membership(
      {
        ...{ group, clientId, instanceId, rackId, topics: [...topics], topicPattern, assignor },
        ...{ rebalanceTimeoutMs, sessionTimeoutMs },
      },
      { clock, random, logger, connections, metadata },
      {
        // One that has departed may open another stream to say goodbye, and owns nothing.
        onOpening: (stream) =>
          this.#membership === membership ? reconciler.onOpening(stream) : [],
        onAssignment: (assignment, stream) => reconciler.onAssignment(assignment, stream),
        onExpelled: () => reconciler.lose(),
        onFailed: (error) => this.#onFailed(membership, error),
        onLost: (server, error) => this.#tell({ type: "connection_lost", server, error }),
      },
    );
    this.#membership = membership;
    membership.start();
    this.#commits.start();
    this.#liveness.start();
  }

  #onFailed(membership: Membership, error: MillraceError): void {
    if (this.#membership !== membership || this.#closing !== undefined) return;
    this.#depart();
    this.#control.fail(error);
  }

  /** Is no member any more. The next iteration joins anew. */
  #depart(): void {
    this.#membership = undefined;
    this.#liveness.stop();
    this.#commits.stop();
    this.#reconciler.lose();
  }

  #tellSlow(sinceMs: number): void {
    const { logger } = this.#context.env;
    const processingMs = Math.round(sinceMs);
    const leavesInMs = Math.max(0, this.#settings.maxProcessingMs - processingMs);
    logger.warn({ group: this.group, processingMs, leavesInMs }, "processing is slow");
    this.#tell({ type: "processing_slow", processingMs, leavesInMs });
  }

  #leaveStuck(sinceMs: number): void {
    const membership = this.#membership;
    if (membership === undefined) return;
    const error = stuck(this.group, sinceMs);
    const { group } = this;
    const { logger } = this.#context.env;
    logger.warn({ err: error, group }, "the member leaves its group");
    // Sent before the goodbye: nobody waits for it here.
    if (this.#settings.autoCommit) {
      this.#commits.movedPast().catch((err: unknown) => {
        logger.warn({ err, group }, "offsets could not be committed before the member left");
      });
    }
    const goesOn = this.#goesOn();
    this.#depart();
    void membership.leave({ temporary: false });
    this.#tell({ type: "group_left", error });
    void goesOn.then(() => {
      if (this.#closing === undefined) this.#join();
    });
  }

  /** Resolves once the loop asks for more; one that has asked waits for all of its handlers. */
  async #goesOn(): Promise<void> {
    if (this.#control.isAsking()) {
      await this.#work.quiet();
      if (this.#control.isAsking()) return;
    }
    await this.#control.asked();
  }

  #heldUp(): HeldUp[] {
    const error = this.#membership?.trouble;
    if (error === undefined || !this.#reconciler.isEmpty) return [];
    const { topicPattern, topics = [] } = this.#options;
    const all = topicPattern === undefined ? topics : [...topics, topicPattern];
    return all.map((topic) => ({ topic, error }));
  }

  #tell(state: GroupConsumerState): void {
    try {
      this.#options.onState?.(state);
    } catch (thrown) {
      this.#context.env.logger.warn({ err: thrown, state: state.type }, "onState threw");
    }
  }

  #check(): void {
    if (this.#closing !== undefined) throw closedError();
  }
}

/** What the consumer of the partitions is given. */
const innerOptions = <K, V>(options: GroupConsumerOptions<K, V>): ConsumerOptions<K, V> => {
  const { bufferBytesMax, inflatedBytesMax, isolation, onOutOfRange, onState } = options;
  const { keyDeserializer, valueDeserializer } = options;
  return {
    ...(bufferBytesMax === undefined ? {} : { bufferBytesMax }),
    ...(inflatedBytesMax === undefined ? {} : { inflatedBytesMax }),
    ...(isolation === undefined ? {} : { isolation }),
    ...(onOutOfRange === undefined ? {} : { onOutOfRange }),
    ...(onState === undefined ? {} : { onState }),
    ...(keyDeserializer === undefined ? {} : { keyDeserializer }),
    ...(valueDeserializer === undefined ? {} : { valueDeserializer }),
  };
};

const stuck = (group: string, ms: number): MillraceError =>
  new MillraceError(
    ErrorCode.DEADLINE_EXCEEDED,
    `the loop has asked for nothing for ${Math.round(ms)} ms, and has left the group ${group}: ` +
      "do less per record, or raise maxProcessingMs",
  );

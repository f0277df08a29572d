/**
 * Applies assignments to what is read, in the order that the group relies on: partitions that are
 * gone are stopped, their offsets committed, and only then reported as given back; new ones are
 * read once the application has been told.
 */
import type { Clock, Logger, Random } from "@millrace/env";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import type { Assignment } from "@millrace/proto/group";
import { backoffMs } from "../backoff.ts";
import type { PartitionControl } from "../consumer/control.ts";
import { isRetriable } from "../failures.ts";
import { isSameTopic } from "../metadata/index.ts";
import type { Position, TopicPartition } from "../types.ts";
import { type PartitionsInput, partitionsInput } from "./messages.ts";

/**
 * `placing`: the start is being looked up. `placed`: the application is to be told. `owned`: it is
 * read. `leaving`: it is being given back.
 */
type Phase = "placing" | "placed" | "owned" | "leaving";

/** A partition that the group has given to the member. */
export interface HeldPartition extends TopicPartition {
  readonly topicId: Uint8Array;
  from: Position;
  phase: Phase;
  /** The application was told of it. */
  announced: boolean;
  /** What the group has; undefined while nothing is committed. */
  committed: bigint | undefined;
  /** What the application has committed by itself: nothing below it is committed after. */
  ahead: bigint;
}

export interface Callbacks {
  readonly onAssigned?: ((partitions: readonly TopicPartition[]) => unknown) | undefined;
  readonly onRevoked?: ((partitions: readonly TopicPartition[]) => unknown) | undefined;
  readonly onLost?: ((partitions: readonly TopicPartition[]) => unknown) | undefined;
}

export interface ReconcilerContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly control: PartitionControl;
  /** Where partitions begin of which nothing is committed. */
  readonly from: Position;
  readonly callbacks: Callbacks;
  readonly report: (revision: bigint, owned: readonly PartitionsInput[], stream: number) => void;
  /** Commits what the application has done of these partitions. */
  readonly commit: (partitions: readonly HeldPartition[]) => Promise<void>;
  /** Resolves when nothing of these partitions is being processed beside the loop. */
  readonly settle: (partitions: readonly TopicPartition[]) => Promise<void>;
  /** What is being processed of these partitions counts for nothing from now on. */
  readonly forget: (partitions: readonly TopicPartition[]) => void;
}

/** Attempts to commit what goes, beyond the first. */
const commitsMax = 8;
/** How long new partitions wait for each other, so that the application is told at once. */
const togetherMs = 200;

const keyOf = ({ topic, partition }: TopicPartition): string => `${partition}/${topic}`;

const placeOf = ({ topic, partition }: TopicPartition): TopicPartition => ({ topic, partition });

interface Given extends TopicPartition {
  readonly topicId: Uint8Array;
  readonly position: bigint | undefined;
}

const givenBy = ({ topics }: Assignment): Given[] =>
  topics.flatMap(({ partitions, topic, topicId }) =>
    partitions.map(({ partition, position }) => ({
      ...{ topic, topicId, partition, position: position?.offset },
    })),
  );

export class Reconciler {
  readonly #context: ReconcilerContext;
  readonly #held = new Map<string, HeldPartition>();
  /** Ends with the step that was queued last. Never rejects. */
  #queue: Promise<void> = Promise.resolve();
  /** The stream whose assignments count. */
  #stream = 0;
  /** Of the latest assignment that was applied. */
  #applied: { readonly revision: bigint; readonly stream: number } | undefined;
  /** What the latest assignment has, applied or not: topic ids by partition. */
  #wanted: ReadonlyMap<string, Uint8Array> = new Map();
  /** Rises when everything is lost: steps before that are over. */
  #generation = 0;
  #onLoss = Promise.withResolvers<void>();
  /** The member leaves: it takes nothing more, whichever stream says so. */
  #isLeaving = false;
  /** Nothing that is being processed is waited for any longer. */
  readonly #givenUp = Promise.withResolvers<void>();

  constructor(context: ReconcilerContext) {
    this.#context = context;
  }

  /** Partitions that the application was told of, and has not lost. */
  get assigned(): TopicPartition[] {
    return [...this.#held.values()].filter(({ announced }) => announced).map(placeOf);
  }

  get isEmpty(): boolean {
    return this.#held.size === 0;
  }

  /** The partition, if its offsets may be committed. */
  committable(place: TopicPartition): HeldPartition | undefined {
    const held = this.#held.get(keyOf(place));
    return held?.phase === "owned" || held?.phase === "leaving" ? held : undefined;
  }

  /** See `MembershipEvents.onOpening`. */
  onOpening(stream: number): PartitionsInput[] {
    this.#stream = stream;
    return partitionsInput([...this.#held.values()]);
  }

  onAssignment(assignment: Assignment, stream: number): void {
    const generation = this.#generation;
    if (stream === this.#stream) {
      this.#wanted = new Map(givenBy(assignment).map((one) => [keyOf(one), one.topicId]));
    }
    this.#enqueue(() => this.#apply(assignment, stream, generation));
  }

  /** Everything is lost: nothing more is read or committed. */
  lose(): void {
    this.#generation += 1;
    this.#applied = undefined;
    const all = [...this.#held.values()];
    const { callbacks, control, forget } = this.#context;
    this.#held.clear();
    control.drop(all);
    forget(all);
    this.#onLoss.resolve();
    this.#onLoss = Promise.withResolvers();
    const lost = all.filter(({ announced }) => announced);
    this.#enqueue(() => this.#tell(callbacks.onLost, lost));
  }

  /**
   * Gives everything back, before the member leaves. Waits for what is being processed for as long
   * as `waitMs` at most; a loop that was left does not work on its record any more.
   */
  async giveUp(waitMs: number): Promise<void> {
    const { clock, control } = this.#context;
    const isBusy = control.inHand() === undefined || control.isIterating();
    const cancel = clock.timer(isBusy ? waitMs : 0, () => this.#givenUp.resolve());
    await this.#enqueue(async () => {
      this.#isLeaving = true;
      await this.#giveBack([...this.#held.values()]);
    });
    cancel();
  }

  /** Steps follow one another: the application is told of one thing at a time. */
  #enqueue(step: () => Promise<void>): Promise<void> {
    const done = this.#queue.then(step).catch((thrown: unknown) => {
      this.#context.control.fail(MillraceError.from(thrown));
    });
    this.#queue = done;
    return done;
  }

  async #apply(assignment: Assignment, stream: number, generation: number): Promise<void> {
    if (this.#isLeaving || stream !== this.#stream || generation !== this.#generation) return;
    const given = new Map(givenBy(assignment).map((one) => [keyOf(one), one]));
    const gone = [...this.#held.values()].filter((one) => {
      const still = given.get(keyOf(one));
      return still === undefined || !isSameTopic(still.topicId, one.topicId);
    });
    await this.#giveBack(gone);
    if (generation !== this.#generation) return;
    const coming: HeldPartition[] = [];
    for (const one of given.values()) {
      const known = this.#held.get(keyOf(one));
      if (known === undefined) coming.push(this.#take(one));
      else if (one.position !== undefined) coming.push(this.#reset(known, one.position));
    }
    this.#applied = { revision: assignment.revision, stream };
    this.#report();
    if (coming.length > 0) void this.#bring(coming);
    // Some were not wanted when their turn came, and are again.
    if (this.#placed().length > 0) this.#enqueue(() => this.#announce());
  }

  #take({ topic, topicId, partition, position }: Given): HeldPartition {
    const from = position === undefined ? this.#context.from : { offset: position };
    const held: HeldPartition = {
      ...{ topic, topicId, partition, from, phase: "placing", announced: false },
      committed: position,
      ahead: 0n,
    };
    this.#held.set(keyOf(held), held);
    return held;
  }

  /** The group says where to go on, whatever was read. */
  #reset(held: HeldPartition, position: bigint): HeldPartition {
    this.#context.control.hold([held]);
    this.#context.forget([held]);
    held.from = { offset: position };
    held.committed = position;
    held.ahead = 0n;
    held.phase = "placing";
    return held;
  }

  async #giveBack(gone: readonly HeldPartition[]): Promise<void> {
    if (gone.length === 0) return;
    const { callbacks, control } = this.#context;
    const generation = this.#generation;
    const told = gone.filter(({ announced }) => announced);
    this.#forget(gone.filter(({ announced }) => !announced));
    control.hold(told);
    for (const held of told) if (held.phase === "owned") held.phase = "leaving";
    await this.#settle(told);
    if (generation !== this.#generation) return;
    await this.#tell(callbacks.onRevoked, told);
    if (generation !== this.#generation) return;
    await this.#commit(told.filter(({ phase }) => phase === "leaving"));
    if (generation === this.#generation) this.#forget(told);
  }

  /** Commits what goes, again and again while that helps: what is not committed comes twice. */
  async #commit(gone: readonly HeldPartition[]): Promise<void> {
    const { clock, commit, logger, random } = this.#context;
    const generation = this.#generation;
    for (let attempt = 0; generation === this.#generation; attempt += 1) {
      try {
        await commit(gone);
        return;
      } catch (thrown) {
        logger.warn({ err: thrown }, "offsets could not be committed on revocation");
        // The group knew the topic when it gave the partition: it was deleted since.
        if (hasCode(thrown, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)) return;
        if (!isRetriable(MillraceError.from(thrown)) || attempt >= commitsMax) return;
        await clock.sleep(backoffMs(attempt, random));
      }
    }
  }

  /** Waits until the application has done with what it has of the partitions. */
  async #settle(gone: readonly HeldPartition[]): Promise<void> {
    const { control, settle } = this.#context;
    const keys = new Set(gone.map(keyOf));
    let isOver = false;
    const over = Promise.race([this.#onLoss.promise, this.#givenUp.promise]).then(() => {
      isOver = true;
    });
    while (!isOver) {
      const hand = control.inHand();
      if (hand === undefined || !keys.has(keyOf(hand))) break;
      await Promise.race([control.asked(), over]);
    }
    await Promise.race([settle(gone), over]);
  }

  #forget(gone: readonly HeldPartition[]): void {
    for (const held of gone) this.#held.delete(keyOf(held));
    this.#context.control.drop(gone);
    this.#context.forget(gone);
  }

  /** Never rejects. */
  async #bring(coming: readonly HeldPartition[]): Promise<void> {
    const { clock } = this.#context;
    const all = coming.map((held) => this.#place(held));
    const waited = new AbortController();
    const sleep = clock.sleep(togetherMs, waited.signal).catch(() => {});
    let isTogether = true;
    const each = all.map(async (one) => {
      await one;
      if (!isTogether) this.#enqueue(() => this.#announce());
    });
    await Promise.race([Promise.all(each), sleep]);
    waited.abort();
    isTogether = false;
    this.#enqueue(() => this.#announce());
  }

  /** Looks up where the partition begins, for as long as it is held. Never rejects. */
  async #place(held: HeldPartition): Promise<void> {
    const { clock, control, logger, random } = this.#context;
    const { from, partition, topic, topicId } = held;
    const isWanted = (): boolean =>
      this.#held.get(keyOf(held)) === held && held.from === from && held.phase === "placing";
    for (let attempt = 0; isWanted(); attempt += 1) {
      try {
        await control.place({ topic, topicId, partition, from, isWanted });
        if (isWanted()) held.phase = "placed";
      } catch (thrown) {
        logger.warn({ err: thrown, topic, partition }, "an assigned partition cannot be read yet");
        await clock.sleep(backoffMs(attempt, random));
      }
    }
  }

  /** Partitions to tell of: not those that an assignment takes away which is still in line. */
  #placed(): HeldPartition[] {
    return [...this.#held.values()].filter((held) => {
      const topicId = this.#wanted.get(keyOf(held));
      return held.phase === "placed" && topicId !== undefined && isSameTopic(topicId, held.topicId);
    });
  }

  /** Tells the application of partitions that are placed, and reads them. */
  async #announce(): Promise<void> {
    const placed = this.#placed();
    if (placed.length === 0) return;
    const { callbacks, control } = this.#context;
    const generation = this.#generation;
    const fresh = placed.filter(({ announced }) => !announced);
    for (const held of fresh) held.announced = true;
    await this.#tell(callbacks.onAssigned, fresh);
    if (generation !== this.#generation) return;
    for (const held of placed) held.phase = "owned";
    control.begin(placed);
    this.#report();
  }

  async #tell(
    callback: ((partitions: readonly TopicPartition[]) => unknown) | undefined,
    partitions: readonly HeldPartition[],
  ): Promise<void> {
    if (callback === undefined || partitions.length === 0) return;
    try {
      await callback(partitions.map(placeOf));
    } catch (thrown) {
      this.#context.control.fail(MillraceError.from(thrown));
    }
  }

  #report(): void {
    const applied = this.#applied;
    if (applied === undefined) return;
    const owned = [...this.#held.values()].filter(({ announced }) => announced);
    this.#context.report(applied.revision, partitionsInput(owned), applied.stream);
  }
}

/** How a group says which partitions a consumer reads. The application has no part in it. */
import type { MillraceError } from "@millrace/errors";
import type { Position, TopicPartition } from "../types.ts";
import { Cursor, cursorKey, type StartingPoint } from "./cursor.ts";
import type { InHand } from "./in-hand.ts";
import type { Leaders } from "./leaders.ts";

/** A partition, and where to begin in it. */
export interface Placement extends TopicPartition {
  readonly topicId: Uint8Array;
  readonly from: Position;
  /** False: the start was looked up for nothing. */
  readonly isWanted: () => boolean;
}

/** How far the application has come in a partition. */
export interface MovedPast extends TopicPartition {
  readonly topicId: Uint8Array;
  /** The first offset that it has not done with. */
  readonly offset: bigint;
  /** As told last; 0 before. */
  readonly highWatermark: bigint;
}

export interface PartitionControl {
  /**
   * Finds the start of a partition, which is read once it is begun. A partition that is read
   * already is held, and begins there.
   */
  place(placement: Placement): Promise<void>;
  /** Reads partitions that were placed or held. */
  begin(places: readonly TopicPartition[]): void;
  /** Hands out nothing more of them, for now. */
  hold(places: readonly TopicPartition[]): void;
  /** Forgets them. */
  drop(places: readonly TopicPartition[]): void;
  movedPast(): MovedPast[];
  /** The partition whose record or batch the application works on. */
  inHand(): TopicPartition | undefined;
  /** Resolves when the application asks for more. */
  asked(): Promise<void>;
  /** Times that the application asked for more. */
  asks(): number;
  /** The application waits for more. */
  isAsking(): boolean;
  isIterating(): boolean;
  /** Ends the iteration with an error, or the next one. */
  fail(error: MillraceError): void;
}

export interface ControlContext {
  readonly cursors: Map<string, Cursor>;
  readonly leaders: Leaders;
  readonly inHand: InHand;
  readonly startOf: (placement: Placement) => Promise<StartingPoint>;
  readonly isIterating: () => boolean;
  /** Partitions came, went, or may be handed out. */
  readonly changed: () => void;
  readonly fail: (error: MillraceError) => void;
}

export class GroupControl implements PartitionControl {
  readonly #context: ControlContext;

  constructor(context: ControlContext) {
    this.#context = context;
  }

  async place(placement: Placement): Promise<void> {
    const { changed, cursors, startOf } = this.#context;
    const { topic, partition } = placement;
    const cursor = new Cursor(topic, partition, await startOf(placement));
    if (!placement.isWanted()) return;
    const old = cursors.get(cursorKey(topic, partition));
    old?.drop();
    cursor.held = true;
    cursor.paused = old?.paused ?? false;
    cursors.set(cursorKey(topic, partition), cursor);
    changed();
  }

  begin(places: readonly TopicPartition[]): void {
    for (const cursor of this.#named(places)) {
      cursor.held = false;
      this.#context.leaders.attach(cursor);
    }
    this.#context.changed();
  }

  hold(places: readonly TopicPartition[]): void {
    for (const cursor of this.#named(places)) {
      cursor.held = true;
      cursor.stopFetching();
    }
  }

  drop(places: readonly TopicPartition[]): void {
    for (const cursor of this.#named(places)) {
      cursor.drop();
      this.#context.cursors.delete(cursorKey(cursor.topic, cursor.partition));
    }
    this.#context.changed();
  }

  movedPast(): MovedPast[] {
    const { cursors, inHand } = this.#context;
    return [...cursors.values()].map((cursor) => {
      const { highWatermark, partition, topic, topicId } = cursor;
      const offset = inHand.movedPast(cursor);
      return { topic, topicId, partition, offset, highWatermark: BigInt(highWatermark) };
    });
  }

  inHand(): TopicPartition | undefined {
    return this.#context.inHand.cursor;
  }

  asked(): Promise<void> {
    return this.#context.inHand.asked();
  }

  asks(): number {
    return this.#context.inHand.asks;
  }

  isAsking(): boolean {
    return this.#context.isIterating() && this.#context.inHand.cursor === undefined;
  }

  isIterating(): boolean {
    return this.#context.isIterating();
  }

  fail(error: MillraceError): void {
    this.#context.fail(error);
  }

  #named(places: readonly TopicPartition[]): Cursor[] {
    const { cursors } = this.#context;
    return places.flatMap(({ topic, partition }) => cursors.get(cursorKey(topic, partition)) ?? []);
  }
}

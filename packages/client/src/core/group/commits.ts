/** Which offsets a member commits, and when. */
import type { Cancel, Clock, Logger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { MovedPast, PartitionControl } from "../consumer/control.ts";
import type { PartitionOffset, TopicPartition } from "../types.ts";
import type { Membership } from "./membership.ts";
import { type OffsetInput, offsetsInput, refusedOf } from "./messages.ts";
import type { GroupSettings } from "./options.ts";
import type { HeldPartition } from "./reconciler.ts";
import type { OffsetCommit, PartitionLag } from "./types.ts";

export interface CommitsContext {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly control: PartitionControl;
  readonly settings: GroupSettings;
  /** The partition, if its offsets may be committed. */
  readonly heldBy: (place: TopicPartition) => HeldPartition | undefined;
  /** The first offset of a partition that a handler works on, or has yet to. */
  readonly unfinished: (place: TopicPartition) => bigint | undefined;
  readonly membership: () => Membership | undefined;
}

/** Most partitions in one commit. */
const partitionsMax = 10_000;

/** A partition that may be committed, and how far the application has come in it. */
interface Reached extends MovedPast {
  readonly held: HeldPartition;
}

export class Commits {
  readonly #context: CommitsContext;
  #isCommitting = false;
  #cancel: Cancel = () => {};

  constructor(context: CommitsContext) {
    this.#context = context;
  }

  /** Commits from time to time. */
  start(): void {
    const { clock, settings } = this.#context;
    if (!settings.autoCommit) return;
    this.#cancel();
    this.#cancel = clock.timer(settings.autoCommitIntervalMs, () => {
      this.start();
      void this.#commitInBackground();
    });
  }

  stop(): void {
    this.#cancel();
  }

  positions(): PartitionOffset[] {
    return this.#reached().map(({ topic, partition, offset }) => ({ topic, partition, offset }));
  }

  lag(): PartitionLag[] {
    return this.#reached().map(({ topic, partition, offset, highWatermark }) => {
      const lag = highWatermark > offset ? highWatermark - offset : 0n;
      return { topic, partition, lag };
    });
  }

  /** Commits what the application has moved past; of all partitions, if none are named. */
  async movedPast(only?: readonly HeldPartition[]): Promise<void> {
    const wanted = only === undefined ? undefined : new Set(only);
    const changed = this.#reached().filter(
      ({ held, offset }) =>
        offset !== held.committed && offset >= held.ahead && wanted?.has(held) !== false,
    );
    if (changed.length === 0) return;
    await this.#send(changed);
    // One that was reset since has another object of its own, or another phase.
    for (const { held, offset } of changed) {
      if (this.#context.heldBy(held) === held) held.committed = offset;
    }
  }

  /** The application goes to another place: what it has committed there says nothing any more. */
  forgetAhead(place: TopicPartition): void {
    const held = this.#context.heldBy(place);
    if (held !== undefined) held.ahead = 0n;
  }

  /** Commits one offset as the application gives it. */
  async one({ topic, partition, offset, metadata }: OffsetCommit): Promise<void> {
    const bytes = typeof metadata === "string" ? Buffer.from(metadata) : metadata;
    const { heldBy } = this.#context;
    const held = heldBy({ topic, partition });
    const topicId = held === undefined ? {} : { topicId: held.topicId };
    const only = bytes === undefined ? {} : { metadata: bytes };
    await this.#send([{ topic, partition, offset: BigInt(offset), ...topicId, ...only }]);
    if (held === undefined || heldBy(held) !== held) return;
    held.committed = BigInt(offset);
    held.ahead = held.committed;
  }

  #reached(): Reached[] {
    const { control, heldBy, unfinished } = this.#context;
    return control.movedPast().flatMap((moved) => {
      const held = heldBy(moved);
      if (held === undefined) return [];
      return [{ ...moved, held, offset: unfinished(moved) ?? moved.offset }];
    });
  }

  async #commitInBackground(): Promise<void> {
    if (this.#isCommitting) return;
    this.#isCommitting = true;
    try {
      await this.movedPast();
    } catch (thrown) {
      this.#context.logger.warn({ err: thrown }, "offsets could not be committed");
    } finally {
      this.#isCommitting = false;
    }
  }

  /** Throws the first refusal. */
  async #send(offsets: readonly OffsetInput[]): Promise<void> {
    const membership = this.#context.membership();
    if (membership === undefined) throw notJoined();
    const parts: OffsetInput[][] = [];
    for (let at = 0; at < offsets.length; at += partitionsMax) {
      parts.push(offsets.slice(at, at + partitionsMax));
    }
    const answers = await Promise.all(parts.map((part) => membership.commit(offsetsInput(part))));
    const [refused] = refusedOf(answers.flat());
    if (refused === undefined) return;
    const { error, partition, topic } = refused;
    throw new MillraceError(
      error.code,
      `${topic}-${partition} was not committed: ${error.message}`,
      { cause: error, spec: error.spec },
    );
  }
}

const notJoined = (): MillraceError =>
  MillraceError.refusal(
    ErrorCode.UNKNOWN_MEMBER_ID,
    "the consumer is no member of its group: begin to iterate",
  );

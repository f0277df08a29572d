/**
 * Says which partitions of a leader cannot be followed. The first one has a line of its own. Those
 * that follow within a second share one: a leader that was just elected refuses thousands.
 */
import type { Cancel, Clock, Logger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import type { TopicId } from "@millrace/record";

interface PartitionName {
  readonly topicId: TopicId;
  readonly partition: number;
}

/** Time that one line is about, ms. */
const summedMs = 1000;
/** Partitions that such a line names. */
const examplesMax = 5;

export class FollowFailures {
  readonly #clock: Pick<Clock, "timer">;
  readonly #logger: Pick<Logger, "warn">;
  readonly #leaderId: number;
  #cancel: Cancel | undefined;
  /** Of the partitions since the last line. */
  #count = 0;
  #examples: object[] = [];
  #first: unknown;

  constructor(options: { clock: Clock; logger: Logger }, leaderId: number) {
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#leaderId = leaderId;
  }

  /** A partition that was followed before, or never, has failed. */
  add({ partition, topicId }: PartitionName, thrown: unknown): void {
    const name = { topic_id: topicId, partition };
    if (this.#cancel === undefined) {
      const fields = { leader: this.#leaderId, ...name, err: MillraceError.from(thrown) };
      this.#logger.warn(fields, "a partition cannot be followed: trying again");
      this.#sumUp();
      return;
    }
    if (this.#count === 0) this.#first = thrown;
    if (this.#count < examplesMax) this.#examples.push(name);
    this.#count += 1;
  }

  /** Nothing is said any more. */
  close(): void {
    this.#cancel?.();
  }

  #sumUp(): void {
    this.#cancel = this.#clock.timer(summedMs, () => {
      this.#cancel = undefined;
      if (this.#count === 0) return;
      const fields = {
        ...{ leader: this.#leaderId, partitions: this.#count, examples: this.#examples },
        err: MillraceError.from(this.#first),
      };
      this.#logger.warn(fields, "more partitions cannot be followed: trying again");
      this.#count = 0;
      this.#examples = [];
      this.#sumUp();
    });
  }
}

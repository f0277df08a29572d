/** Creations of partitions on the disk: at most 64 at once. Deletions wait for those under way. */
import type { TopicId } from "@millrace/record";
import { Ring } from "../ring.ts";

/** Partitions that are made at the same time. */
const parallelMax = 64;

export class Creations {
  readonly #waiting = new Ring<() => void>();
  readonly #underWay = new Map<TopicId, Set<Promise<unknown>>>();
  #free = parallelMax;

  /** Runs `create` once there is a place. Resolves or rejects as it does. */
  async run<T>(topicId: TopicId, create: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const creation = create();
    const underWay = this.#underWay.get(topicId) ?? new Set();
    this.#underWay.set(topicId, underWay.add(creation));
    try {
      return await creation;
    } finally {
      underWay.delete(creation);
      if (underWay.size === 0) this.#underWay.delete(topicId);
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }

  /** Resolves once the creations of a topic that have begun by now are over. */
  async settled(topicId: TopicId): Promise<void> {
    await Promise.allSettled(this.#underWay.get(topicId) ?? []);
  }
}

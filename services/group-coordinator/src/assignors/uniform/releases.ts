/** Which partitions members give up, so that those of each topic stay spread. */
import type { Pace, Steps } from "../../steps.ts";
import { type Board, nobody } from "../board.ts";
import { Counts } from "../counts.ts";
import { Heap } from "../heap.ts";

export class Releases {
  readonly #board: Board;
  readonly #loads: Counts;
  readonly #takerCount: number;
  readonly #pace: Pace;
  /** Free partitions of each topic. */
  readonly #free: Counts;

  constructor(board: Board, loads: Counts, takerCount: number, pace: Pace) {
    this.#board = board;
    this.#loads = loads;
    this.#takerCount = takerCount;
    this.#pace = pace;
    this.#free = new Counts(board.topics.length);
  }

  release(g: number): void {
    const { owners, topicOf } = this.#board;
    this.#loads.add(owners.of(g), -1);
    owners.set(g, nobody);
    this.#free.add(topicOf.of(g));
  }

  isFree(g: number): boolean {
    return this.#board.owners.of(g) === nobody;
  }

  /**
   * Releases some of a member's partitions, which rise: of the topic of which it has most beyond
   * an even share, then of that which has the fewest free ones, so that a member that joins gets
   * something of every topic.
   */
  *some(partitions: readonly number[], count: number): Steps<void> {
    const { topicOf } = this.#board;
    const byTopic = new Map<number, number[]>();
    for (const g of partitions) {
      if (this.#pace.took()) yield;
      const list = byTopic.get(topicOf.of(g));
      if (list === undefined) byTopic.set(topicOf.of(g), [g]);
      else list.push(g);
    }
    const heap = new Heap();
    const push = (t: number, left: number): void => {
      const topic = this.#board.topics[t];
      const even = topic === undefined ? 0 : topic.end - topic.first;
      heap.push(t, even - left * this.#takerCount, this.#free.of(t));
    };
    for (const [t, list] of byTopic) push(t, list.length);
    for (let left = count; left > 0; left -= 1) {
      if (this.#pace.took()) yield;
      const t = heap.pop();
      const list = byTopic.get(t);
      const g = list?.pop();
      if (list === undefined || g === undefined) return;
      this.release(g);
      if (list.length > 0) push(t, list.length);
    }
  }
}

/** Room for partitions at some of the members, one topic after the other. */
import type { Counts } from "../counts.ts";
import { Heap } from "../heap.ts";

/** What all seats share: they change it, and others may. */
export interface Tally {
  /** Partitions of each member. */
  readonly loads: Counts;
  /** Those of the topic that is being placed. */
  readonly ofTopic: Counts;
  readonly quota: number;
}

export class Seats {
  readonly #tally: Tally;
  /** How many of the members may still get one above the quota. */
  #extras: number;
  /** Members by load; those with partitions of this topic may be among them. */
  readonly #open = new Heap();
  /** Members with partitions of this topic, by their number. */
  readonly #met = new Heap();

  constructor(tally: Tally, members: Iterable<number>, extras: number) {
    this.#tally = tally;
    this.#extras = extras;
    for (const m of members) this.#open.push(m, tally.loads.of(m));
  }

  /** The member with the fewest partitions of the topic, then of all; -1 if all are full. */
  best(): number {
    const { loads, ofTopic } = this.#tally;
    for (let m = this.#open.first; m !== -1; m = this.#open.first) {
      if (this.#hasRoom(m) && ofTopic.of(m) === 0) return m;
      this.#open.pop();
      if (this.#hasRoom(m)) this.#met.push(m, ofTopic.of(m), loads.of(m));
    }
    while (this.#met.size > 0 && !this.#hasRoom(this.#met.first)) this.#met.pop();
    return this.#met.first;
  }

  /** Gives a partition of the topic to the best member. */
  take(): number {
    const { loads, ofTopic, quota } = this.#tally;
    const m = this.best();
    if (this.#open.size > 0) this.#open.pop();
    else this.#met.pop();
    if (loads.of(m) >= quota) this.#extras -= 1;
    loads.add(m);
    ofTopic.add(m);
    if (this.#hasRoom(m)) this.#met.push(m, ofTopic.of(m), loads.of(m));
    return m;
  }

  /** The next partitions are of another topic. */
  endTopic(): void {
    while (this.#met.size > 0) {
      const m = this.#met.pop();
      this.#open.push(m, this.#tally.loads.of(m));
    }
  }

  #hasRoom(m: number): boolean {
    const { loads, quota } = this.#tally;
    return loads.of(m) < quota || (loads.of(m) === quota && this.#extras > 0);
  }
}

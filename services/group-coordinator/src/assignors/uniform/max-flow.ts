/** The largest flow through a network: Dinic's algorithm. */
import type { Pace, Steps } from "../../steps.ts";
import { Counts } from "../counts.ts";

/** One edge and its reverse have numbers that differ in the lowest bit. */
const reverse = (edge: number): number => edge ^ 1;

export class FlowNetwork {
  /** Edges that leave each node. */
  readonly #leaving: number[][] = [];
  readonly #target: number[] = [];
  /** What each edge can still take. */
  readonly #room: number[] = [];

  /** Returns its number: 0, 1, 2, … */
  addNode(): number {
    return this.#leaving.push([]) - 1;
  }

  /** Returns the edge. */
  addEdge(from: number, to: number, capacity: number): number {
    const edge = this.#target.length;
    this.#target.push(to, from);
    this.#room.push(capacity, 0);
    this.#leaving[from]?.push(edge);
    this.#leaving[to]?.push(reverse(edge));
    return edge;
  }

  /** What flows through an edge. */
  flow(edge: number): number {
    return this.#room[reverse(edge)] ?? 0;
  }

  /** Sends as much as possible. */
  *maximise(source: number, sink: number, pace: Pace): Steps<void> {
    for (;;) {
      const levels = yield* this.#levels(source, pace);
      if (levels.of(sink) < 0) return;
      yield* this.#block(source, sink, levels, pace);
    }
  }

  /** Distances of the nodes from the source over edges with room; -1 where there is no way. */
  *#levels(source: number, pace: Pace): Steps<Counts> {
    const levels = new Counts(this.#leaving.length, -1);
    levels.set(source, 0);
    const queue = [source];
    for (const node of queue) {
      for (const edge of this.#leaving[node] ?? []) {
        if (pace.took()) yield;
        const next = this.#target[edge] ?? 0;
        if (levels.of(next) >= 0 || this.#room[edge] === 0) continue;
        levels.set(next, levels.of(node) + 1);
        queue.push(next);
      }
    }
    return levels;
  }

  /** Fills shortest ways until each has an edge without room. */
  *#block(source: number, sink: number, levels: Counts, pace: Pace): Steps<void> {
    /** How many edges of each node lead nowhere any more. */
    const spent = new Counts(this.#leaving.length);
    const way: number[] = [];
    for (let node = source; ; ) {
      if (pace.took()) yield;
      if (node === sink) {
        this.#send(way);
        way.length = 0;
        node = source;
        continue;
      }
      const edge = this.#leaving[node]?.[spent.of(node)];
      if (edge === undefined) {
        const back = way.pop();
        if (back === undefined) return;
        node = this.#target[reverse(back)] ?? 0;
        spent.add(node);
        continue;
      }
      const next = this.#target[edge] ?? 0;
      if (this.#room[edge] === 0 || levels.of(next) !== levels.of(node) + 1) {
        spent.add(node);
        continue;
      }
      way.push(edge);
      node = next;
    }
  }

  #send(way: readonly number[]): void {
    let least = Number.POSITIVE_INFINITY;
    for (const edge of way) least = Math.min(least, this.#room[edge] ?? 0);
    for (const edge of way) {
      this.#room[edge] = (this.#room[edge] ?? 0) - least;
      this.#room[reverse(edge)] = (this.#room[reverse(edge)] ?? 0) + least;
    }
  }
}

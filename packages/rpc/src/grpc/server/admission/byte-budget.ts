/** Byte budgets in levels: a connection's bytes are also its address's and the server's. */
import { assert } from "@millrace/errors";
import type { LimitName } from "./limits.ts";

export class ByteBudget {
  readonly limit: LimitName;
  readonly bytesMax: number;
  readonly parent: ByteBudget | undefined;
  #bytes = 0;

  constructor(limit: LimitName, bytesMax: number, parent?: ByteBudget) {
    this.limit = limit;
    this.bytesMax = bytesMax;
    this.parent = parent;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Adds to this level and those above; returns the lowest level that is now above its bound. */
  add(bytes: number): ByteBudget | undefined {
    this.#bytes += bytes;
    const above = this.parent?.add(bytes);
    return this.#bytes > this.bytesMax ? this : above;
  }

  /** Takes back what `add` added. */
  remove(bytes: number): void {
    assert(bytes <= this.#bytes, "an budget gives back no more than it took");
    this.#bytes -= bytes;
    this.parent?.remove(bytes);
  }

  /** True for this budget and those below it. */
  covers(other: ByteBudget): boolean {
    for (let one: ByteBudget | undefined = other; one !== undefined; one = one.parent) {
      if (one === this) return true;
    }
    return false;
  }
}

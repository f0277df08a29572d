/** Work of one key at a time, in order of arrival; of different keys side by side. */
import { ErrorCode, MillraceError } from "@millrace/errors";

interface Lane {
  tail: Promise<unknown>;
  depth: number;
}

const ignore = (): void => {};
/** Pause that a refused caller is asked for, ms. */
const retryAfterMs = 100;

export class Lanes {
  readonly #depthMax: number;
  readonly #lanes = new Map<number, Lane>();

  /** At most `depthMax` pieces of work of one key wait or run. */
  constructor(depthMax: number) {
    this.#depthMax = depthMax;
  }

  /** Keys with work. */
  get size(): number {
    return this.#lanes.size;
  }

  /** Settles as `work` does. Throws ADMISSION_REJECTED, and does not run it, in a full lane. */
  async run<T>(key: number, work: () => Promise<T>): Promise<T> {
    const lane = this.#lanes.get(key) ?? { tail: Promise.resolve(), depth: 0 };
    if (lane.depth >= this.#depthMax) {
      throw MillraceError.refusal(
        ErrorCode.ADMISSION_REJECTED,
        `${lane.depth} calls of broker ${key} are under way: wait for their answers`,
        { retryAfterMs },
      );
    }
    this.#lanes.set(key, lane);
    lane.depth += 1;
    const done = lane.tail.then(work);
    lane.tail = done.catch(ignore);
    try {
      return await done;
    } finally {
      lane.depth -= 1;
      if (lane.depth === 0) this.#lanes.delete(key);
    }
  }
}

import type { Cursor } from "./cursor.ts";

/** The record or batch that the application works on, until it asks for more. */
export class InHand {
  #cursor: Cursor | undefined;
  #offset = 0n;
  #asks = 0;
  #waiters: (() => void)[] = [];

  /** Whose it is. */
  get cursor(): Cursor | undefined {
    return this.#cursor;
  }

  /** Times that the application asked for more. */
  get asks(): number {
    return this.#asks;
  }

  /** The application gets what begins at this offset. */
  take(cursor: Cursor, offset: bigint): void {
    this.#cursor = cursor;
    this.#offset = offset;
  }

  /** The application asks for more: what it had is behind it. */
  movePast(): void {
    this.#cursor = undefined;
    this.#asks += 1;
    if (this.#waiters.length > 0) for (const resolve of this.#waiters.splice(0)) resolve();
  }

  /** Resolves when the application asks for more. */
  asked(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** The first offset of the partition that the application has not moved past. */
  movedPast(cursor: Cursor): bigint {
    return cursor === this.#cursor ? this.#offset : BigInt(cursor.position);
  }
}

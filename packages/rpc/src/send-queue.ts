/** Bytes that wait for the peer of a stream, and writers that wait for room. */
import { Waiters } from "@millrace/env";

export class SendQueue {
  readonly #bytesMax: number;
  readonly #drains = new Waiters();
  #bytes = 0;
  #open = true;

  /** From `bytesMax` on there is no room. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get hasRoom(): boolean {
    return this.#bytes < this.#bytesMax;
  }

  /** False once no more is written. */
  get open(): boolean {
    return this.#open;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
  }

  sent(bytes: number): void {
    this.#bytes -= bytes;
    if (this.hasRoom) this.#drains.wake();
  }

  /** Resolves once there is room, or nobody writes any more. */
  drained(): Promise<void> {
    return this.#open && !this.hasRoom ? this.#drains.wait() : Promise.resolve();
  }

  /** No more writes. What is queued stays. */
  close(): void {
    this.#open = false;
    this.#drains.wake();
  }

  /** What was queued is dropped. */
  clear(): void {
    this.#bytes = 0;
    this.#drains.wake();
  }
}

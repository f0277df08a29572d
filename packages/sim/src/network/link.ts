/** One direction between two hosts: all packets from the one to the other share it. */
import type { Kernel } from "../kernel.ts";

/** When a packet arrives, ms from now, or why it does not. */
export type Transit = number | "lost" | "stalled";

export class Link {
  readonly #kernel: Kernel;
  readonly #onRelease = new Set<() => void>();
  #stalled = false;
  #freeAtMs = 0;
  /** Time under way, ms, asked for each packet. */
  delayMs: () => number;
  /** Part of the packets that get lost, 0 to 1. */
  lossChance = 0;
  /** Bandwidth. */
  bytesPerSecond = Number.POSITIVE_INFINITY;

  constructor(kernel: Kernel, delayMs: () => number) {
    this.#kernel = kernel;
    this.delayMs = delayMs;
  }

  /** A packet begins its way. Packets queue for the bandwidth, lost ones too. */
  transmit(bytes: number): Transit {
    if (this.#stalled) return "stalled";
    const { nowMs } = this.#kernel;
    this.#freeAtMs = Math.max(nowMs, this.#freeAtMs) + (bytes * 1000) / this.bytesPerSecond;
    if (this.#loses()) return "lost";
    return this.#freeAtMs - nowMs + this.delayMs();
  }

  /** Nothing passes until `release`. */
  stall(): void {
    this.#stalled = true;
  }

  /** Ends a stall: what waits goes on at once. */
  release(): void {
    if (!this.#stalled) return;
    this.#stalled = false;
    const waiting = [...this.#onRelease];
    this.#onRelease.clear();
    for (const run of waiting) run();
  }

  /** Runs `run` once, at the end of the stall. */
  onRelease(run: () => void): void {
    this.#onRelease.add(run);
  }

  #loses(): boolean {
    const { lossChance } = this;
    if (lossChance <= 0 || lossChance >= 1) return lossChance >= 1;
    return this.#kernel.random.chance(lossChance);
  }
}

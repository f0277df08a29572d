/** Frames between two ends of a simulated connection, in order per direction. */
import type { Clock } from "@millrace/env";
import type { WireStatus } from "../status.ts";

/** Frames of one stream. */
export type Frame =
  /** The call begins. */
  | { readonly kind: "open" }
  | { readonly kind: "message"; readonly bytes: Uint8Array }
  /** No more messages from this side. */
  | { readonly kind: "end" }
  /** The server has finished. */
  | { readonly kind: "status"; readonly status: WireStatus | undefined }
  /** The client gave up. */
  | { readonly kind: "cancel"; readonly deadline: boolean };

/** What the network does to the frames of a connection. */
export interface Link {
  /** Milliseconds until the next frame arrives, at least 0. */
  delayMs(from: string, to: string): number;
  /**
   * `reset`: the connection breaks and both sides notice. `silent`: it goes half-open; nothing
   * arrives any more, and both sides notice only by their keepalive.
   */
  fate(from: string, to: string): "deliver" | "reset" | "silent";
  /** True if a connection cannot be made now. */
  refuses(from: string, to: string): boolean;
}

/** A network without faults and without delay. */
export const perfectLink: Link = {
  delayMs: () => 0,
  fate: () => "deliver",
  refuses: () => false,
};

/** Time without an answer after which a half-open connection is given up, ms. */
export const keepaliveMs = 10_000;

/** One direction of one stream: keeps order whatever the delays. */
export class Wire {
  readonly #clock: Clock;
  readonly #delayMs: () => number;
  readonly #fate: () => "deliver" | "reset" | "silent";
  readonly #arrive: (frame: Frame) => void;
  readonly #broken: (how: "reset" | "silent") => void;
  readonly #line: Frame[] = [];
  #lastAtMs = 0;
  #dead = false;

  constructor(options: {
    readonly clock: Clock;
    readonly delayMs: () => number;
    readonly fate: () => "deliver" | "reset" | "silent";
    readonly arrive: (frame: Frame) => void;
    readonly broken: (how: "reset" | "silent") => void;
  }) {
    this.#clock = options.clock;
    this.#delayMs = options.delayMs;
    this.#fate = options.fate;
    this.#arrive = options.arrive;
    this.#broken = options.broken;
  }

  send(frame: Frame): void {
    if (this.#dead) return;
    const fate = this.#fate();
    if (fate !== "deliver") {
      this.#dead = true;
      this.#broken(fate);
      return;
    }
    const nowMs = this.#clock.monoMs();
    const atMs = Math.max(this.#lastAtMs, nowMs + this.#delayMs());
    this.#lastAtMs = atMs;
    // The event delivers the first frame in line: two times that should be equal may differ in
    // their last bit.
    this.#line.push(frame);
    const deliver = (): void => {
      const first = this.#line.shift();
      if (!this.#dead && first !== undefined) this.#arrive(first);
    };
    if (atMs <= nowMs) this.#clock.defer(deliver);
    else this.#clock.timer(atMs - nowMs, deliver);
  }

  /** Frames under way are lost. */
  cut(): void {
    this.#dead = true;
  }
}

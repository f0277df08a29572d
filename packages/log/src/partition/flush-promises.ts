/** What an acknowledgement of a partition promises beyond its flush policy. */
import type { FlushPolicy } from "../api.ts";

/**
 * After a change of the policy or a truncation, the batches before and behind it must not
 * contradict each other at recovery; until a recovery point covers everything up to there, new
 * batches keep a stronger promise.
 */
export class FlushPromises {
  #syncDirectly = false;
  #journalAnyway = false;
  #unwritten = false;
  #version = 0;
  #since = 0;

  /** Rounds fsync the segments: the journal must not have a batch without those before it. */
  get syncDirectly(): boolean {
    return this.#syncDirectly;
  }

  /** Batches are journalled although the policy does not ask for it. */
  get journalAnyway(): boolean {
    return this.#journalAnyway;
  }

  /** Rises with every change; part of a checkpoint's picture. */
  get version(): number {
    return this.#version;
  }

  /**
   * The policy is another one from `endOffset` on. Returns whether a checkpoint has to cover what
   * was appended under the old one.
   */
  policyChanged(before: FlushPolicy, policy: FlushPolicy, endOffset: number): boolean {
    const isStronger = policy === "commit";
    if ((before === "commit") === isStronger) return false;
    if (isStronger) this.#syncDirectly = true;
    else this.#journalAnyway = true;
    this.#changed(endOffset);
    return true;
  }

  /**
   * The log was cut at `endOffset`: recovery takes nothing behind a truncation from the segments.
   * What is left of a log whose policy is not `commit` may not be fsynced.
   */
  truncated(endOffset: number, journalled: boolean): void {
    this.#journalAnyway = true;
    if (!journalled) this.#syncDirectly = true;
    this.#changed(endOffset);
  }

  /** A recovery point at `offset` is durable whose picture was taken at `version`. */
  covered(offset: number, version: number): void {
    if (version !== this.#version || offset < this.#since) return;
    this.#syncDirectly = false;
    if (this.#journalAnyway) this.#unwritten = true;
    this.#journalAnyway = false;
  }

  /**
   * Whether batches that only the journal holds may stand before those that it does not hold:
   * recovery writes the former, and takes nothing from the files behind them. True once; whoever
   * asks waits until they are written.
   */
  takeUnwritten(): boolean {
    const unwritten = this.#unwritten;
    this.#unwritten = false;
    return unwritten;
  }

  #changed(endOffset: number): void {
    this.#version += 1;
    this.#since = endOffset;
  }
}

/**
 * Whether something has changed since it was last made durable, as a pair of versions. A flag that
 * is cleared before the I/O must be given back by hand on every failure, and loses a change made
 * meanwhile; a version does neither.
 */
export class Durability {
  #version = 0;
  #durableVersion = 0;

  /** Of the latest change. Read it before the I/O that covers everything changed so far. */
  get version(): number {
    return this.#version;
  }

  /** Something is not durable yet. */
  get pending(): boolean {
    return this.#version > this.#durableVersion;
  }

  /** Whether the change with this version is durable. */
  covers(version: number): boolean {
    return version <= this.#durableVersion;
  }

  changed(): void {
    this.#version += 1;
  }

  /** I/O that began when `version` was the latest has succeeded. */
  durableUpTo(version: number): void {
    if (version > this.#durableVersion) this.#durableVersion = version;
  }

  /** Runs `io` if there is something to make durable; a failure leaves everything pending. */
  async settle(io: () => Promise<void>): Promise<void> {
    if (!this.pending) return;
    const { version } = this;
    await io();
    this.durableUpTo(version);
  }
}

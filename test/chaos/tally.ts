/**
 * What became of numbered values, in a bit or two for each: a scenario sends millions. The values
 * of a partition are 0, 1, 2… in the order of their sends.
 */

const sentBit = 1;
const ackedBit = 2;
const readBit = 4;
const twiceBit = 8;

export interface Totals {
  readonly sent: number;
  readonly acked: number;
  /** Acknowledged, and never read. */
  readonly lost: number;
  /** Read more than once. */
  readonly duplicated: number;
  /** Read behind a value that was sent later, or never sent. */
  readonly disordered: number;
  /** The longest time between neighbouring acknowledgements, ms. */
  readonly longestGapMs: number;
}

export class PartitionTally {
  #bits = new Uint8Array(1024);
  #sent = 0;
  #lastRead = -1;
  #disordered = 0;
  #lastAckMs: number | undefined;
  #longestGapMs = 0;

  /** The number of the next value. */
  send(): number {
    const number = this.#sent;
    this.#sent += 1;
    if (number >= this.#bits.length) {
      const more = new Uint8Array(2 * this.#bits.length);
      more.set(this.#bits);
      this.#bits = more;
    }
    this.#set(number, sentBit);
    return number;
  }

  ack(number: number, nowMs: number): void {
    this.#set(number, ackedBit);
    this.#longestGapMs = Math.max(this.#longestGapMs, nowMs - (this.#lastAckMs ?? nowMs));
    this.#lastAckMs = nowMs;
  }

  read(number: number): void {
    const bits = this.#bits[number] ?? 0;
    if ((bits & sentBit) === 0) this.#disordered += 1;
    else if ((bits & readBit) !== 0) this.#set(number, twiceBit);
    else if (number < this.#lastRead) this.#disordered += 1;
    this.#set(number, readBit);
    this.#lastRead = Math.max(this.#lastRead, number);
  }

  /** Whether every acknowledged value has been read. */
  get isRead(): boolean {
    return this.totals.lost === 0;
  }

  get totals(): Totals {
    let [acked, lost, duplicated] = [0, 0, 0];
    for (const bits of this.#bits.subarray(0, this.#sent)) {
      if ((bits & ackedBit) !== 0) acked += 1;
      if ((bits & (ackedBit | readBit)) === ackedBit) lost += 1;
      if ((bits & twiceBit) !== 0) duplicated += 1;
    }
    return {
      ...{ sent: this.#sent, acked, lost, duplicated, disordered: this.#disordered },
      longestGapMs: this.#longestGapMs,
    };
  }

  /** A number beyond what was sent leaves no mark. */
  #set(number: number, bit: number): void {
    if (number < this.#sent) this.#bits[number] = (this.#bits[number] ?? 0) | bit;
  }
}

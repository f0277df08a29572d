/**
 * SipHash-2-4 with 128 bits (Aumasson and Bernstein, 2012): keys of records are told apart by it.
 * The secret is new for each map, so that no producer can choose two keys that count as one.
 */

/** Of keys with one secret. The hash of the last key stands in `a` to `d`, 32 bits each. */
export class KeyHash {
  readonly #k0: number;
  readonly #k1: number;
  readonly #k2: number;
  readonly #k3: number;
  a = 0;
  b = 0;
  c = 0;
  d = 0;
  /** The state: four words of 64 bits, low and high halves. */
  readonly #v = new Int32Array(8);

  /** `secret`: 16 bytes. */
  constructor(secret: Uint8Array) {
    const words = new DataView(secret.buffer, secret.byteOffset, 16);
    this.#k0 = words.getInt32(0, true);
    this.#k1 = words.getInt32(4, true);
    this.#k2 = words.getInt32(8, true);
    this.#k3 = words.getInt32(12, true);
  }

  /** Hashes the bytes from `start` to `end`. */
  take(bytes: Uint8Array, start: number, end: number): void {
    const v = this.#v;
    v[0] = this.#k0 ^ 0x70736575;
    v[1] = this.#k1 ^ 0x736f6d65;
    // For 128 bits: 0xee.
    v[2] = this.#k2 ^ 0x6e646f6d ^ 0xee;
    v[3] = this.#k3 ^ 0x646f7261;
    v[4] = this.#k0 ^ 0x6e657261;
    v[5] = this.#k1 ^ 0x6c796765;
    v[6] = this.#k2 ^ 0x79746573;
    v[7] = this.#k3 ^ 0x74656462;
    const length = end - start;
    let at = start;
    for (const wholeEnd = start + (length & ~7); at < wholeEnd; at += 8) {
      this.#absorb(wordAt(bytes, at, 4), wordAt(bytes, at + 4, 4));
    }
    const rest = length & 7;
    const low = wordAt(bytes, at, Math.min(rest, 4));
    const high = wordAt(bytes, at + 4, Math.max(0, rest - 4));
    this.#absorb(low, high | (length << 24));
    v[4] = (v[4] ?? 0) ^ 0xee;
    rounds(v, 4);
    this.a = fold(v, 0);
    this.b = fold(v, 1);
    v[2] = (v[2] ?? 0) ^ 0xdd;
    rounds(v, 4);
    this.c = fold(v, 0);
    this.d = fold(v, 1);
  }

  #absorb(low: number, high: number): void {
    const v = this.#v;
    v[6] = (v[6] ?? 0) ^ low;
    v[7] = (v[7] ?? 0) ^ high;
    rounds(v, 2);
    v[0] = (v[0] ?? 0) ^ low;
    v[1] = (v[1] ?? 0) ^ high;
  }
}

/** Little-endian word of at most four bytes. */
const wordAt = (bytes: Uint8Array, at: number, count: number): number => {
  let word = 0;
  for (let i = 0; i < count; i += 1) word |= (bytes[at + i] ?? 0) << (8 * i);
  return word;
};

/** One half of the exclusive or of all four words, unsigned. */
const fold = (v: Int32Array, half: 0 | 1): number =>
  ((v[half] ?? 0) ^ (v[2 + half] ?? 0) ^ (v[4 + half] ?? 0) ^ (v[6 + half] ?? 0)) >>> 0;

/** SipRounds. In local variables: this is most of what looking at a record takes. */
const rounds = (v: Int32Array, count: number): void => {
  let v0 = v[0] ?? 0;
  let w0 = v[1] ?? 0;
  let v1 = v[2] ?? 0;
  let w1 = v[3] ?? 0;
  let v2 = v[4] ?? 0;
  let w2 = v[5] ?? 0;
  let v3 = v[6] ?? 0;
  let w3 = v[7] ?? 0;
  for (let i = 0; i < count; i += 1) {
    let low = (v0 >>> 0) + (v1 >>> 0);
    w0 = (w0 + w1 + (low > 0xffff_ffff ? 1 : 0)) | 0;
    v0 = low | 0;
    let turned = (v1 << 13) | (w1 >>> 19);
    w1 = ((w1 << 13) | (v1 >>> 19)) ^ w0;
    v1 = turned ^ v0;
    turned = v0;
    v0 = w0;
    w0 = turned;
    low = (v2 >>> 0) + (v3 >>> 0);
    w2 = (w2 + w3 + (low > 0xffff_ffff ? 1 : 0)) | 0;
    v2 = low | 0;
    turned = (v3 << 16) | (w3 >>> 16);
    w3 = ((w3 << 16) | (v3 >>> 16)) ^ w2;
    v3 = turned ^ v2;
    low = (v0 >>> 0) + (v3 >>> 0);
    w0 = (w0 + w3 + (low > 0xffff_ffff ? 1 : 0)) | 0;
    v0 = low | 0;
    turned = (v3 << 21) | (w3 >>> 11);
    w3 = ((w3 << 21) | (v3 >>> 11)) ^ w0;
    v3 = turned ^ v0;
    low = (v2 >>> 0) + (v1 >>> 0);
    w2 = (w2 + w1 + (low > 0xffff_ffff ? 1 : 0)) | 0;
    v2 = low | 0;
    turned = (v1 << 17) | (w1 >>> 15);
    w1 = ((w1 << 17) | (v1 >>> 15)) ^ w2;
    v1 = turned ^ v2;
    turned = v2;
    v2 = w2;
    w2 = turned;
  }
  v[0] = v0;
  v[1] = w0;
  v[2] = v1;
  v[3] = w1;
  v[4] = v2;
  v[5] = w2;
  v[6] = v3;
  v[7] = w3;
};

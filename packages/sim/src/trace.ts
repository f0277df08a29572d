/** What happened in a run: a hash of all of it, and the text for those that ask. */

/** FNV-1a, a word at a time. */
const mix = (hash: number, word: number): number => Math.imul(hash ^ word, 0x01000193);

const number = new Float64Array(1);
const words = new Uint32Array(number.buffer);

export class Trace {
  #hash = 0x811c9dc5;
  /** Gets each line. Set it before the run begins. */
  onLine: ((line: string) => void) | undefined;

  /** Equal for equal runs. */
  get hash(): number {
    return this.#hash >>> 0;
  }

  /** Adds what happened at `step`, at `atMs` of virtual time. */
  add(step: number, atMs: number, what: string): void {
    number[0] = atMs;
    let hash = mix(mix(this.#hash, words[0] ?? 0), words[1] ?? 0);
    hash = mix(hash, step);
    for (let i = 0; i < what.length; i += 1) hash = mix(hash, what.charCodeAt(i));
    this.#hash = hash;
    this.onLine?.(`${step} ${atMs.toFixed(3)} ms ${what}`);
  }
}

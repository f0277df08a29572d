/** Random commands for a metadata store, from a seed. Revisions are those of the embedded store. */
import type { Compare, KeyRange, Operation } from "@millrace/metadata";
import type { SeededRandom } from "@millrace/sim";

export type Command =
  | {
      readonly kind: "txn";
      readonly compares: readonly Compare[];
      readonly apply: readonly Operation[];
      readonly otherwise: readonly Operation[];
    }
  | {
      readonly kind: "range";
      readonly range: KeyRange;
      readonly options: {
        readonly revision?: number;
        readonly limit?: number;
        readonly startAfter?: string;
      };
    }
  | { readonly kind: "grant" }
  | { readonly kind: "keepAlive" | "revoke"; readonly lease: number }
  | { readonly kind: "compact"; readonly revision: number }
  | { readonly kind: "watch"; readonly range: KeyRange; readonly from: number };

/** What the generator aims at, so that compares often hold and leases are often there. */
export interface Known {
  readonly revision: number;
  readonly compacted: number;
  readonly leases: number;
  readonly kvs: ReadonlyMap<
    string,
    {
      readonly value: Uint8Array;
      readonly modRevision: number;
      readonly createRevision: number;
      readonly version: number;
    }
  >;
}

const names = ["a", "a/1", "a/2", "a0", "b", "b/ä", "b/", "c\u0000", "c", "ü", "😀", "z/z/z"];
const prefixes = ["", "a", "a/", "b", "c", "ü", "z/", "none"];

export class Commands {
  readonly #random: SeededRandom;
  #values = 0;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  /** `calm`: no connection breaks while the command runs. */
  next(known: Known, calm: boolean): Command {
    const at = this.#random.below(100);
    if (at < 62) return this.#txn(known, calm);
    if (at < 84) return this.#read(known);
    if (at < 87) return { kind: "grant" };
    if (at < 92) return { kind: "keepAlive", lease: this.#random.below(known.leases + 1) };
    if (at < 94) return { kind: "revoke", lease: this.#random.below(known.leases + 1) };
    if (at < 95) return { kind: "compact", revision: this.#revision(known) };
    // The embedded store keeps nothing of its first revision, at which nothing has changed.
    const from = Math.max(2, this.#revision(known));
    return { kind: "watch", range: this.#range(), from };
  }

  #pick<T>(list: readonly T[]): T {
    const item = list[this.#random.below(list.length)];
    if (item === undefined) throw new RangeError("an empty list");
    return item;
  }

  #range(among = prefixes): KeyRange {
    return this.#random.chance(0.5) ? { key: this.#pick(names) } : { prefix: this.#pick(among) };
  }

  /** Mostly one that can be read; now and then compacted or in the future. */
  #revision({ revision, compacted }: Known): number {
    if (this.#random.chance(0.05)) return revision + 1 + this.#random.below(3);
    if (this.#random.chance(0.1)) return Math.max(1, compacted - this.#random.below(3));
    return compacted + this.#random.below(revision - compacted + 1);
  }

  #read(known: Known): Command {
    const random = this.#random;
    return {
      kind: "range",
      range: this.#range(),
      options: {
        ...(random.chance(0.4) ? { revision: Math.max(1, this.#revision(known)) } : {}),
        ...(random.chance(0.4) ? { limit: 1 + random.below(5) } : {}),
        ...(random.chance(0.3) ? { startAfter: this.#pick(names) } : {}),
      },
    };
  }

  #txn(known: Known, calm: boolean): Command {
    const random = this.#random;
    const list = <T>(most: number, make: () => T): T[] =>
      Array.from({ length: random.below(most + 1) }, make);
    return {
      kind: "txn",
      compares: list(2, () => this.#compare(known)),
      apply: list(4, () => this.#operation(known)),
      // A write that comes late must do nothing, and its compares do not hold then.
      otherwise: list(2, () =>
        calm ? this.#operation(known) : { type: "range", range: this.#range() },
      ),
    };
  }

  #compare({ kvs, revision }: Known): Compare {
    if (this.#random.chance(0.1)) {
      // Often just above, or just below, what has changed last.
      const below = Math.max(1, revision + 1 - this.#random.below(4));
      return { prefix: this.#pick(prefixes.slice(1)), target: "modRevision", below };
    }
    const key = this.#pick(names);
    const kv = kvs.get(key);
    const target = this.#pick(["modRevision", "createRevision", "version", "value"] as const);
    const right = this.#random.chance(0.75);
    if (target === "value") {
      return { key, target, equals: right && kv !== undefined ? kv.value : Buffer.from("no") };
    }
    const now = kv?.[target] ?? 0;
    return { key, target, equals: right ? now : this.#random.below(revision + 2) };
  }

  #operation({ leases }: Known): Operation {
    const random = this.#random;
    const at = random.below(10);
    if (at < 2) return { type: "range", range: this.#range() };
    // Everything but the slot of the pair.
    if (at < 4) return { type: "delete", range: this.#range(prefixes.slice(1)) };
    this.#values += 1;
    return {
      type: "put",
      key: this.#pick(names),
      value: Buffer.from("v".repeat(random.below(40)) + this.#values),
      ...(random.chance(0.2) ? { lease: String(random.below(leases + 1)) } : {}),
    };
  }
}

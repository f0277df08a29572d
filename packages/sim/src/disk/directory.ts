/**
 * A directory: names as processes see them, names on the platter, and the changes between the two.
 */
import type { SeededRandom } from "../random.ts";
import { Inode } from "./inode.ts";

export type Node = Inode | Directory;

type NameChange = { readonly sequence: number } & (
  | { readonly kind: "set"; readonly name: string; readonly node: Node }
  | { readonly kind: "remove"; readonly name: string }
  | { readonly kind: "rename"; readonly from: string; readonly to: string; readonly node: Node }
);

const apply = (names: Map<string, Node>, change: NameChange): void => {
  if (change.kind === "set") names.set(change.name, change.node);
  else if (change.kind === "remove") names.delete(change.name);
  else {
    names.delete(change.from);
    names.set(change.to, change.node);
  }
};

export class Directory {
  #names = new Map<string, Node>();
  #durable = new Map<string, Node>();
  #changes: NameChange[] = [];
  #sequence = 0;

  get(name: string): Node | undefined {
    return this.#names.get(name);
  }

  entries(): IterableIterator<[string, Node]> {
    return this.#names.entries();
  }

  get size(): number {
    return this.#names.size;
  }

  /** A new name, or what stands under it is replaced. */
  set(name: string, node: Node): void {
    this.#names.set(name, node);
    this.#changes.push({ sequence: this.#sequence++, kind: "set", name, node });
  }

  /** A name that is durable at once: for disks that begin with content. */
  setDurably(name: string, node: Node): void {
    this.#names.set(name, node);
    this.#durable.set(name, node);
  }

  remove(name: string): void {
    this.#names.delete(name);
    this.#changes.push({ sequence: this.#sequence++, kind: "remove", name });
  }

  rename(from: string, to: string, node: Node): void {
    const change = {
      sequence: this.#sequence++,
      kind: "rename",
      from,
      to,
      node,
    } as const;
    apply(this.#names, change);
    this.#changes.push(change);
  }

  /** What an fsync that begins now covers: every change with a smaller number. */
  get covered(): number {
    return this.#sequence;
  }

  synced(covered: number): void {
    const later = this.#changes.findIndex(({ sequence }) => sequence >= covered);
    const count = later < 0 ? this.#changes.length : later;
    for (const change of this.#changes.splice(0, count)) {
      apply(this.#durable, change);
    }
  }

  /**
   * Power is cut: each change since the last fsync is kept or lost on its own. Visits everything
   * below.
   */
  losePower(random: SeededRandom, seen: Set<Node>): void {
    const changes = this.#changes;
    this.#changes = [];
    // Mostly all or nothing or a beginning, sometimes any of them.
    const keepUpTo = random.chance(0.3) ? changes.length : random.below(changes.length + 1);
    const anyOrder = random.chance(0.4);
    for (const [i, change] of changes.entries()) {
      const keep = anyOrder ? random.chance(0.5) : i < keepUpTo;
      if (keep) apply(this.#durable, change);
    }
    this.#names = new Map(this.#durable);
    for (const node of this.#names.values()) {
      if (seen.has(node)) continue;
      seen.add(node);
      if (node instanceof Inode) node.losePower(random);
      else node.losePower(random, seen);
    }
  }

  /** A deep copy; nodes that stand under several names stay one. */
  copy(copies = new Map<Node, Node>()): Directory {
    const copyOf = (node: Node): Node => {
      const known = copies.get(node);
      if (known !== undefined) return known;
      const copy = node instanceof Inode ? node.copy() : node.copy(copies);
      copies.set(node, copy);
      return copy;
    };
    const copy = new Directory();
    for (const [name, node] of this.#names) copy.#names.set(name, copyOf(node));
    for (const [name, node] of this.#durable) copy.#durable.set(name, copyOf(node));
    copy.#changes = this.#changes.map((change) =>
      change.kind === "remove" ? { ...change } : { ...change, node: copyOf(change.node) },
    );
    copy.#sequence = this.#sequence;
    return copy;
  }
}

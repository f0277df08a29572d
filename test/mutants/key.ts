/** What a kept result of a mutant depends on. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import type { Mutant } from "./mutant.ts";

/** The files of a repository, read once. */
export class Keys {
  readonly #root: string;
  readonly #texts = new Map<string, string>();

  constructor(root: string) {
    this.#root = root;
  }

  /** The mutant's name, and a hash of its entry and of all files that `#filesOf` names. */
  of(mutant: Mutant): string {
    const hash = createHash("sha256").update(JSON.stringify(mutant));
    for (const path of this.#filesOf(mutant)) hash.update(path).update(this.#text(path));
    return `${mutant.name} ${hash.digest("hex").slice(0, 16)}`;
  }

  /** The mutated file, its tests, and what they import by relative paths, and so on, sorted. */
  #filesOf({ file, tests }: Mutant): string[] {
    const found = new Set([file, ...tests]);
    for (const path of found) {
      for (const [, name = ""] of this.#text(path).matchAll(
        /\b(?:from|import)\s*\(?\s*"(\.[^"]+)"/g,
      )) {
        found.add(normalize(join(dirname(path), name)));
      }
    }
    return [...found].sort();
  }

  #text(path: string): string {
    const known = this.#texts.get(path);
    if (known !== undefined) return known;
    const full = join(this.#root, path);
    const text = existsSync(full) ? readFileSync(full, "utf8") : "";
    this.#texts.set(path, text);
    return text;
  }
}

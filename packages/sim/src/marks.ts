/**
 * What a run says about itself: rare states that it reached, promises that must hold, and places
 * where the code is asked to misbehave on purpose (after FoundationDB's buggify and Antithesis's
 * sometimes and always assertions).
 */
import type { SimHooks } from "@millrace/env";
import { SeededRandom } from "./random.ts";

/** Part of the runs in which a place of `buggify` misbehaves at all. */
const sitesChosen = 0.25;
/** How often it does in those runs. */
const chanceDefault = 0.25;

const hashOf = (text: string): number => {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash;
};

interface Site {
  readonly random: SeededRandom;
  readonly chosen: boolean;
}

export class Marks implements SimHooks {
  readonly #seed: number;
  readonly #onMark: (what: string) => void;
  readonly #reached = new Map<string, number>();
  readonly #sites = new Map<string, Site>();
  #broken: string | undefined;

  /** `onMark` is told what goes into the trace. */
  constructor(seed: number, onMark: (what: string) => void) {
    this.#seed = seed;
    this.#onMark = onMark;
  }

  /** How often each mark was reached. */
  get reached(): ReadonlyMap<string, number> {
    return this.#reached;
  }

  /** The first promise that did not hold. */
  get broken(): string | undefined {
    return this.#broken;
  }

  sometimes(name: string): void {
    this.#reached.set(name, (this.#reached.get(name) ?? 0) + 1);
    this.#onMark(`sometimes ${name}`);
  }

  always(holds: boolean, name: string): void {
    if (holds) return;
    this.#onMark(`never: ${name}`);
    this.#broken ??= name;
  }

  /**
   * Each place has its own chance, from the seed and its name: a new place changes no other, and no
   * event of a run in which it is not chosen.
   */
  buggify(name: string, chance = chanceDefault): boolean {
    let site = this.#sites.get(name);
    if (site === undefined) {
      const random = new SeededRandom(this.#seed ^ hashOf(name));
      site = { random, chosen: random.chance(sitesChosen) };
      this.#sites.set(name, site);
    }
    if (!site.chosen || !site.random.chance(chance)) return false;
    this.sometimes(`buggify ${name}`);
    return true;
  }
}

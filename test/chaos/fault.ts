/** What a fault is made of. */

export interface Fault {
  /** What it hits, for people. */
  readonly target: string;
  readonly begin: () => Promise<void>;
  /** Called once the step's duration is over, also when `begin` has failed. */
  readonly end?: () => Promise<void>;
}

/** An item by a fraction. */
export const itemAt = <T>(items: readonly T[], pick: number): T => {
  const item = items[Math.floor(pick * items.length)];
  if (item === undefined) throw new RangeError(`no item at ${pick} of ${items.length}`);
  return item;
};

/** A broken invariant: a bug, never bad input. Whoever owns the state stops it; nobody retries. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** Throws InvariantError unless `condition` holds. Names one condition; split compound ones. */
export function assert(condition: boolean, what: string): asserts condition {
  if (!condition) throw new InvariantError(`invariant broken: ${what}`);
}

/** For the `default` of a switch that must be total. */
export const never = (value: never, what: string): never => {
  throw new InvariantError(`invariant broken: unexpected ${what}: ${String(value)}`);
};

/** The value, which must be there. */
export const must = <T>(value: T | undefined | null, what: string): T => {
  if (value === undefined || value === null) {
    throw new InvariantError(`invariant broken: missing ${what}`);
  }
  return value;
};

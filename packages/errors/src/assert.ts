/** A broken invariant: a bug, never bad input. The owner of the state stops it; nothing retries. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** Throws InvariantError unless `condition` holds. Names one condition; split compound ones. */
export function assert(condition: boolean, what: string): asserts condition {
  if (!condition) throw new InvariantError(`invariant broken: ${what}`);
}

/** For the `default` case of an exhaustive switch. */
export const never = (value: never, what: string): never => {
  throw new InvariantError(`invariant broken: unexpected ${what}: ${String(value)}`);
};

/** The value, which must not be undefined. */
export const must = <T>(value: T | undefined | null, what: string): T => {
  if (value === undefined || value === null) {
    throw new InvariantError(`invariant broken: missing ${what}`);
  }
  return value;
};

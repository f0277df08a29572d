/**
 * Branded numbers. Inside the system 64-bit values are plain numbers below 2^53, which every codec
 * checks; at the public API they are `bigint`.
 */

declare const brand: unique symbol;

type Brand<Name extends string> = number & { readonly [brand]: Name };

/** Position of a record in a partition, 0 to 2^53-1. */
export type Offset = Brand<"Offset">;
/** Leader epoch, 0 to 2^32-1. */
export type Epoch = Brand<"Epoch">;
/** Broker id, 0 to 2^31-1. */
export type BrokerId = Brand<"BrokerId">;
/** Revision of the metadata store, 0 to 2^53-1. */
export type Revision = Brand<"Revision">;

const check = (value: number, max: number, what: string): number => {
  if (!Number.isSafeInteger(value) || value < 0 || value > max) {
    throw new RangeError(`${what} out of range: ${value}`);
  }
  return value;
};

/** Checks and brands an offset. Throws RangeError. */
export const offset = (value: number | bigint): Offset =>
  check(Number(value), Number.MAX_SAFE_INTEGER, "offset") as Offset;
/** Checks and brands a leader epoch. Throws RangeError. */
export const epoch = (value: number): Epoch => check(value, 0xffff_ffff, "leader epoch") as Epoch;
/** Checks and brands a broker id. Throws RangeError. */
export const brokerId = (value: number): BrokerId =>
  check(value, 0x7fff_ffff, "broker id") as BrokerId;
/** Checks and brands a revision. Throws RangeError. */
export const revision = (value: number | bigint): Revision =>
  check(Number(value), Number.MAX_SAFE_INTEGER, "revision") as Revision;

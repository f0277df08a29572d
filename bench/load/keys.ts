/**
 * Key of the record `i` of a log with so many keys, in an order without a pattern: a multiple of a
 * number that has no factor with theirs.
 */
export const keyOf = (i: number, keys: number): string =>
  `key-${String((i * 7_919_999) % keys).padStart(12, "0")}`;

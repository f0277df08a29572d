/** Limits of every implementation, so that nothing works on one and fails on another. */
import { ErrorCode, MillraceError, sizeText } from "@millrace/errors";
import type { Compare, KeyRange, KeyValue, Operation, RangeOptions } from "./api.ts";

/** Most compares, and most operations in each branch of a transaction (etcd's default). */
export const operationsMax = 128;
/** Largest request (etcd's default): keys, values, and what is added to them on the way. */
export const requestBytesMax = 1_572_864;
/** Longest root of a cluster's keys in etcd, bytes. */
export const rootBytesMax = 100;
/** Counted for every compare and operation: the root, for a range twice, and its framing. */
const overheadBytes = 256;
/** Counted once: the header of a request. */
const headerBytes = 1024;

/** Longest time until a call settles when the caller names none, ms. */
export const callTimeoutMs = 5000;

/** Lease of the active controller, and of a broker's registration, seconds. */
export const sessionSeconds = 10;
/** How often a broker looks whether the registration of an earlier process is gone, ms. */
export const registerIntervalMs = 250;

export const invalid = (message: string): MillraceError =>
  new MillraceError(ErrorCode.INVALID_REQUEST, message);

/** The one key of a range, or undefined for a prefix. */
export const keyOfRange = (range: KeyRange): string | undefined =>
  "key" in range ? range.key : undefined;

export const matches = (range: KeyRange, key: string): boolean =>
  "key" in range ? range.key === key : key.startsWith(range.prefix);

/** etcd's order: bytes of UTF-8. */
export const byKey = (a: Pick<KeyValue, "key">, b: Pick<KeyValue, "key">): number =>
  a.key === b.key ? 0 : Buffer.compare(Buffer.from(a.key), Buffer.from(b.key));

/** Throws INVALID_REQUEST for text that UTF-8 cannot hold: two such keys would become one. */
export const checkKey = (key: string): void => {
  if (key.isWellFormed()) return;
  throw invalid(`key ${JSON.stringify(key)} has half a surrogate pair: use well-formed text`);
};

export const checkRange = (range: KeyRange): void =>
  checkKey("key" in range ? range.key : range.prefix);

/** Throws INVALID_REQUEST for a TTL that no store grants. */
export const checkTtl = (ttlSeconds: number): void => {
  if (Number.isInteger(ttlSeconds) && ttlSeconds >= 1) return;
  throw invalid(`lease TTL ${ttlSeconds} is not allowed: use whole seconds, at least 1`);
};

/** Throws INVALID_REQUEST before any read. */
export const checkRead = (range: KeyRange, { limit, startAfter }: RangeOptions): void => {
  checkRange(range);
  if (startAfter !== undefined) checkKey(startAfter);
  if (limit === undefined || (Number.isInteger(limit) && limit >= 1)) return;
  throw invalid(`limit ${limit} is not allowed: use a whole number, at least 1`);
};

const bytesOf = (operation: Operation): number => {
  if (operation.type === "put") return Buffer.byteLength(operation.key) + operation.value.length;
  const { range } = operation;
  return "key" in range ? Buffer.byteLength(range.key) : 2 * Buffer.byteLength(range.prefix);
};

const checkBranch = (branch: readonly Operation[]): void => {
  const put = new Set<string>();
  for (const operation of branch) {
    if (operation.type !== "put") {
      checkRange(operation.range);
      continue;
    }
    checkKey(operation.key);
    if (operation.key === "") throw invalid("an empty key: name one");
    if (put.has(operation.key)) {
      throw invalid(`key ${operation.key} is put twice in one transaction: put it once`);
    }
    put.add(operation.key);
  }
  for (const operation of branch) {
    if (operation.type !== "delete") continue;
    for (const key of put) {
      if (matches(operation.range, key)) {
        throw invalid(`key ${key} is put and deleted in one transaction: do one of them`);
      }
    }
  }
};

/** Throws INVALID_REQUEST before any effect. */
export const checkLimits = (
  compares: readonly Compare[],
  then: readonly Operation[],
  otherwise: readonly Operation[],
): void => {
  let bytes = headerBytes;
  for (const list of [compares, then, otherwise]) {
    bytes += list.length * overheadBytes;
    if (list.length > operationsMax) {
      throw invalid(`${list.length} operations, at most ${operationsMax}: split the transaction`);
    }
  }
  for (const compare of compares) {
    if ("prefix" in compare) {
      checkKey(compare.prefix);
      if (compare.prefix === "") throw invalid("a compare of every key: name a prefix");
      bytes += 2 * Buffer.byteLength(compare.prefix);
      continue;
    }
    checkKey(compare.key);
    bytes += Buffer.byteLength(compare.key);
    if (compare.target === "value") bytes += compare.equals.length;
  }
  for (const operation of [...then, ...otherwise]) bytes += bytesOf(operation);
  if (bytes > requestBytesMax) {
    throw invalid(
      `${sizeText(bytes)}, at most ${sizeText(requestBytesMax)}: split the transaction`,
    );
  }
  checkBranch(then);
  checkBranch(otherwise);
};

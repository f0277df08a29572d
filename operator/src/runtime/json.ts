/** Objects of an API server as values: compared, hashed, frozen. */

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** As text, with the keys of objects in order: equal values have equal texts. */
export const canonical = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: Json) =>
    isRecord(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  ) ?? "null";

const keysOf = (value: Readonly<Record<string, unknown>>): string[] =>
  Object.keys(value).filter((key) => value[key] !== undefined);

/** Whether both are the same as JSON: in objects, a key without a value is none. */
export const isEqual = (a: unknown, b: unknown): boolean => {
  if (a === b) return true;
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((one, i) => isEqual(one, b[i]));
  }
  if (!isRecord(a) || !isRecord(b)) return false;
  const keys = keysOf(a);
  return keys.length === keysOf(b).length && keys.every((key) => isEqual(a[key], b[key]));
};

const fnvPrime = 0x01000193;

const fnv = (text: string, start: number): string => {
  let hash = start;
  for (let i = 0; i < text.length; i += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(i), fnvPrime);
  }
  // The last characters have to reach all bits, too.
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39);
  return ((hash ^ (hash >>> 15)) >>> 0).toString(16).padStart(8, "0");
};

/** 64 bits as text. Tells versions of one object apart; no protection against an attacker. */
export const hashOf = (value: unknown): string => {
  const text = canonical(value);
  return fnv(text, 0x811c9dc5) + fnv(text, 0x9e3779b9);
};

/** The value itself, which nobody can change any more. */
export const frozen = <T>(value: T): T => {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) frozen(inner);
  return Object.freeze(value);
};

/** What an element of a list is known by, as the lists of Kubernetes have it. */
const identities = ["name", "type", "key", "uid", "mountPath", "containerPort", "port", "ip"];

const findLike = (wanted: unknown, among: readonly unknown[], at: number): unknown => {
  if (!isRecord(wanted)) return among[at];
  const identity = identities.find((name) => name in wanted);
  if (identity === undefined) return among[at];
  return among.find((one) => isRecord(one) && one[identity] === wanted[identity]);
};

const includesList = (actual: readonly unknown[], wanted: readonly unknown[]): boolean => {
  const isKeyed = wanted.every((one) => isRecord(one) && identities.some((name) => name in one));
  if (!isKeyed && actual.length !== wanted.length) return false;
  return wanted.every((one, at) => includes(findLike(one, actual, at), one));
};

/**
 * Whether everything wanted is there as it is wanted. What others have added is no difference:
 * defaults, elements of lists whose elements have names, further keys.
 */
export const includes = (actual: unknown, wanted: unknown): boolean => {
  if (Array.isArray(wanted)) return Array.isArray(actual) && includesList(actual, wanted);
  if (!isRecord(wanted)) return actual === wanted;
  if (!isRecord(actual)) return false;
  return Object.entries(wanted).every(([key, value]) => {
    if (value === undefined) return true;
    return includes(actual[key], value);
  });
};

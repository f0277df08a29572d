/** Checks of what applications pass: from JavaScript it can be anything. */
import { ErrorCode, MillraceError, parseEndpoint } from "@millrace/errors";

/** What a key of an object argument may hold. With a question mark, it may be left out. */
export type FieldKind =
  | "string"
  | "string?"
  | "boolean"
  | "boolean?"
  | "integer"
  | "integer?"
  | "offset"
  | "offset?"
  | "object"
  | "object?"
  | "list"
  | "list?"
  | "function?"
  | "any"
  | "any?";

/** The keys of an object argument. */
export type Shape<T> = { readonly [K in keyof Required<T>]: FieldKind };

const invalid = (text: string): MillraceError => new MillraceError(ErrorCode.INVALID_REQUEST, text);

/** A value as an error shows it: short, and with its type. */
export const shown = (value: unknown): string => {
  if (typeof value === "string") {
    return value.length > 60 ? `a string of ${value.length} characters` : JSON.stringify(value);
  }
  if (value === null || value === undefined || typeof value !== "object") {
    return typeof value === "function" ? "a function" : `${String(value)}`;
  }
  if (Array.isArray(value)) return "a list";
  const name: unknown = value.constructor?.name;
  return typeof name === "string" && name !== "Object" ? `a ${name}` : "an object";
};

const fits: Readonly<Record<string, readonly [(value: unknown) => boolean, string]>> = {
  string: [(value) => typeof value === "string", "a string"],
  boolean: [(value) => typeof value === "boolean", "true or false"],
  integer: [(value) => Number.isSafeInteger(value), "a whole number"],
  offset: [
    (value) => typeof value === "bigint" || Number.isSafeInteger(value),
    "a whole number or a bigint",
  ],
  object: [
    (value) => typeof value === "object" && value !== null && !Array.isArray(value),
    "an object",
  ],
  list: [(value) => Array.isArray(value), "a list"],
  function: [(value) => typeof value === "function", "a function"],
  any: [(value) => value !== undefined, "a value"],
};

/** Steps of one letter from `a` to `b`: Levenshtein's distance. */
const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
};

/**
 * The name among `known` that comes nearest, whatever the case of its letters; undefined when most
 * letters are others.
 */
const nearest = (name: string, known: readonly string[]): string | undefined => {
  const asked = name.toLowerCase().slice(0, 100);
  const stepsTo = (one: string): number => {
    const other = one.toLowerCase();
    const isPart = asked.length > 2 && (other.includes(asked) || asked.includes(other));
    return isPart ? 1 : distance(asked, other);
  };
  const ranked = known.map((one) => ({ one, steps: stepsTo(one) }));
  const [first] = ranked.sort((a, b) => a.steps - b.steps);
  return first !== undefined && first.steps * 3 <= asked.length * 2 ? first.one : undefined;
};

/** Says of an unknown key which one may be meant. */
export const unknownKey = (where: string, key: string, known: readonly string[]): string => {
  const near = nearest(key, known);
  const all = `it knows ${known.join(", ")}`;
  const what = `${where} does not know ${shown(key)}: `;
  return near === undefined ? `${what}${all}` : `${what}did you mean ${shown(near)}? (${all})`;
};

/**
 * Checks an object argument: that it is one, its keys, and what they hold. `where` is what takes
 * it, as the application wrote it. Throws INVALID_REQUEST, before anything has happened.
 */
export const checkFields = <T>(where: string, given: unknown, shape: Shape<T>): void => {
  const known = Object.keys(shape);
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    const text = `${where} takes one object with ${known.join(", ")}, not ${shown(given)}`;
    throw invalid(text);
  }
  for (const key of Object.keys(given)) {
    if (!known.includes(key)) throw invalid(unknownKey(where, key, known));
  }
  for (const [key, kind] of Object.entries<FieldKind>(shape)) {
    const value: unknown = Reflect.get(given, key);
    const isOptional = kind.endsWith("?");
    if (value === undefined && isOptional) continue;
    const [isFit = () => true, what = ""] = fits[isOptional ? kind.slice(0, -1) : kind] ?? [];
    if (isFit(value)) continue;
    if (value === undefined) throw invalid(`${where} needs ${shown(key)}: give ${what}`);
    throw invalid(`${key} of ${where} is ${shown(value)}: give ${what}`);
  }
};

/** The whole number if it is in range. Throws INVALID_REQUEST. */
export const inRange = (name: string, value: number, min: number, max: number): number => {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw invalid(`${name} is ${shown(value)}: use a whole number from ${min} to ${max}`);
};

/** The value if it is one of `allowed`. Throws INVALID_REQUEST. */
export const oneOf = <T extends string>(name: string, value: T, allowed: readonly T[]): T => {
  if (allowed.includes(value)) return value;
  throw invalid(`${name} is ${shown(value)}: use one of ${allowed.join(", ")}`);
};

/** True for `host:port`, with an IPv6 address in brackets. */
export const isEndpoint = (text: string): boolean => parseEndpoint(text) !== undefined;

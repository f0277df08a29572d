/**
 * Admits objects by a schema, as an API server does: fills in defaults, then refuses what is
 * unknown or out of bounds, and what a CEL rule forbids. The tests with a real API server have the
 * last word on what is admitted; this one is there within a millisecond.
 */
import type { JsonSchema } from "../schema.ts";
import { celInput, holds } from "./cel.ts";

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The value with the defaults that it lacks. */
export const withDefaults = (schema: JsonSchema, value: unknown): unknown => {
  if (Array.isArray(value)) return value.map((one) => withDefaults(schema.items ?? {}, one));
  if (!isObject(value)) return value;
  const filled: Record<string, unknown> = { ...value };
  for (const [name, one] of Object.entries(schema.properties ?? {})) {
    if (filled[name] === undefined && one.default !== undefined) filled[name] = one.default;
    if (filled[name] !== undefined) filled[name] = withDefaults(one, filled[name]);
  }
  return filled;
};

type Problems = string[];

const checkText = (schema: JsonSchema, value: string, path: string, problems: Problems): void => {
  const { format, maxLength, minLength, pattern } = schema;
  const length = [...value].length;
  if (maxLength !== undefined && length > maxLength) problems.push(`${path}: too long`);
  if (minLength !== undefined && length < minLength) problems.push(`${path}: too short`);
  if (pattern !== undefined && !new RegExp(pattern, "u").test(value)) {
    problems.push(`${path}: does not match ${pattern}`);
  }
  if (format === "date-time" && Number.isNaN(Date.parse(value))) problems.push(`${path}: no time`);
};

const checkNumber = (schema: JsonSchema, value: number, path: string, problems: Problems): void => {
  const { maximum, minimum, type } = schema;
  if (type === "integer" && !Number.isInteger(value)) problems.push(`${path}: not whole`);
  if (maximum !== undefined && value > maximum) problems.push(`${path}: above ${maximum}`);
  if (minimum !== undefined && value < minimum) problems.push(`${path}: below ${minimum}`);
};

const checkList = (
  schema: JsonSchema,
  value: readonly unknown[],
  path: string,
  problems: Problems,
): void => {
  const { items = {}, maxItems, minItems } = schema;
  if (maxItems !== undefined && value.length > maxItems) problems.push(`${path}: too many`);
  if (minItems !== undefined && value.length < minItems) problems.push(`${path}: too few`);
  const keys = schema["x-kubernetes-list-map-keys"];
  const isSet = schema["x-kubernetes-list-type"] === "set";
  if (isSet || keys !== undefined) {
    const names = value.map((one) =>
      JSON.stringify(keys === undefined || !isObject(one) ? one : keys.map((key) => one[key])),
    );
    if (new Set(names).size !== names.length) problems.push(`${path}: twice`);
  }
  for (const [i, one] of value.entries()) check(items, one, `${path}[${i}]`, problems);
};

const checkObject = (schema: JsonSchema, value: Json, path: string, problems: Problems): void => {
  const { additionalProperties, maxProperties, properties = {}, required = [] } = schema;
  const names = Object.keys(value);
  if (maxProperties !== undefined && names.length > maxProperties) {
    problems.push(`${path}: too many`);
  }
  for (const name of required) {
    if (value[name] === undefined) problems.push(`${path}.${name}: required`);
  }
  // Metadata has no schema of ours.
  if (schema.properties === undefined && additionalProperties === undefined) return;
  for (const [name, one] of Object.entries(value)) {
    const known = properties[name] ?? additionalProperties;
    const here = path === "" ? name : `${path}.${name}`;
    if (known === undefined) problems.push(`${here}: unknown field`);
    else check(known, one, here, problems);
  }
};

const check = (schema: JsonSchema, value: unknown, path: string, problems: Problems): void => {
  if (schema.enum !== undefined && !schema.enum.includes(value as string)) {
    problems.push(`${path}: not one of ${schema.enum.join(", ")}`);
  }
  if (schema["x-kubernetes-int-or-string"] === true) {
    if (typeof value === "string") checkText(schema, value, path, problems);
    else if (!Number.isInteger(value)) problems.push(`${path}: neither integer nor string`);
    return;
  }
  const type = schema.type === "integer" ? "number" : schema.type;
  const actual = Array.isArray(value) ? "array" : typeof value;
  if (type !== actual) {
    problems.push(`${path}: ${actual}, not ${schema.type}`);
    return;
  }
  if (typeof value === "string") checkText(schema, value, path, problems);
  else if (typeof value === "number") checkNumber(schema, value, path, problems);
  else if (Array.isArray(value)) checkList(schema, value, path, problems);
  else if (isObject(value)) checkObject(schema, value, path, problems);
};

/** Rules of a schema and of what is below it. Rules about a change need the object before it. */
const checkRules = (
  schema: JsonSchema,
  value: unknown,
  before: unknown,
  path: string,
  problems: Problems,
): void => {
  for (const { fieldPath = "", message, rule } of schema["x-kubernetes-validations"] ?? []) {
    const isAboutChange = /\boldSelf\b/.test(rule);
    if (isAboutChange && before === undefined) continue;
    const variables = {
      self: celInput(schema, value),
      ...(isAboutChange ? { oldSelf: celInput(schema, before) } : {}),
    };
    if (!holds(rule, variables)) problems.push(`${path}${fieldPath}: ${message}`);
  }
  if (Array.isArray(value)) {
    // Items of a list that is no map have no item before them.
    for (const [i, one] of value.entries()) {
      checkRules(schema.items ?? {}, one, undefined, `${path}[${i}]`, problems);
    }
  } else if (isObject(value)) {
    const old = isObject(before) ? before : {};
    for (const [name, one] of Object.entries(value)) {
      const below = schema.properties?.[name] ?? schema.additionalProperties;
      const here = path === "" ? name : `${path}.${name}`;
      if (below !== undefined) checkRules(below, one, old[name], here, problems);
    }
  }
};

/** What is wrong with an object, in place of another one where it is a change. */
export const problemsOf = (schema: JsonSchema, value: unknown, before?: unknown): string[] => {
  const problems: string[] = [];
  const filled = withDefaults(schema, value);
  check(schema, filled, "", problems);
  // As the API server: rules are for what the schema admits.
  if (problems.length > 0) return problems;
  const old = before === undefined ? undefined : withDefaults(schema, before);
  checkRules(schema, filled, old, "", problems);
  return problems;
};

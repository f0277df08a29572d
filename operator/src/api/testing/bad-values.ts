/** Every field of every sample out of its bounds, made from the schema. */
import type { JsonSchema } from "../schema.ts";
import type { Sample } from "./samples.ts";

/** An object that must be refused. */
export interface Refused {
  readonly name: string;
  readonly object: Sample;
  /** Field that the refusal names. */
  readonly at: string;
  /** Text that it has. */
  readonly says?: string;
  /** Present: the refused object is a change of this one. */
  readonly before?: Sample;
}

type Path = readonly (number | string)[];

/** The object with another value at a path; `undefined` takes the field away. */
export const withValue = <T>(object: T, [first, ...rest]: Path, value: unknown): T => {
  if (first === undefined) return value as T;
  const copy = (Array.isArray(object) ? [...object] : { ...object }) as Record<string, unknown>;
  const next = withValue(copy[first], rest, value);
  if (next === undefined) delete copy[first];
  else copy[first] = next;
  return copy as T;
};

export const pathText = (path: Path): string =>
  path
    .map((one) => (typeof one === "number" ? `[${one}]` : `.${one}`))
    .join("")
    .slice(1);

/** Values that a schema refuses, by what is wrong with them. */
const badValuesOf = (schema: JsonSchema, value: unknown): (readonly [string, unknown])[] => {
  const bad: (readonly [string, unknown])[] = [];
  const { items, maxItems, maxLength, maximum, minItems, minLength, minimum, type } = schema;
  if (schema["x-kubernetes-int-or-string"] === true) bad.push(["of another type", true]);
  else bad.push(["of another type", type === "string" ? 7 : "text"]);
  if (schema.enum !== undefined) bad.push(["unknown", type === "string" ? "Other" : 2]);
  if (minimum !== undefined) bad.push(["too low", minimum - 1]);
  if (maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER)
    bad.push(["too high", maximum + 1]);
  if (type === "integer") bad.push(["not whole", 1.5]);
  if (maxLength !== undefined) bad.push(["too long", "1".repeat(maxLength + 1)]);
  if (minLength !== undefined) bad.push(["empty", ""]);
  if (schema.pattern !== undefined) bad.push(["malformed", "\u0007 !"]);
  if (schema.format === "date-time") bad.push(["no time", "yesterday"]);
  if (items !== undefined && Array.isArray(value)) {
    if (maxItems !== undefined) {
      bad.push(["too many", Array.from({ length: maxItems + 1 }, () => value[0])]);
    }
    if (minItems !== undefined) bad.push(["too few", []]);
    if (schema["x-kubernetes-list-type"] !== "atomic" && maxItems !== 1) {
      bad.push(["twice", [value[0], value[0]]]);
    }
  }
  if (schema.additionalProperties !== undefined && schema.maxProperties !== undefined) {
    const many = Array.from({ length: schema.maxProperties + 1 }, (_, i) => [`k${i}`, "v"]);
    bad.push(["too many", Object.fromEntries(many)]);
  }
  return bad;
};

/** Paths of a value with their schemas, what holds others before those. */
export function* fieldsOf(
  schema: JsonSchema,
  value: unknown,
  path: Path,
): Generator<{ readonly schema: JsonSchema; readonly value: unknown; readonly path: Path }> {
  yield { schema, value, path };
  if (Array.isArray(value)) {
    for (const [i, one] of value.entries()) yield* fieldsOf(schema.items ?? {}, one, [...path, i]);
  } else if (typeof value === "object" && value !== null) {
    for (const [name, one] of Object.entries(value)) {
      const below = schema.properties?.[name] ?? schema.additionalProperties;
      if (below !== undefined) yield* fieldsOf(below, one, [...path, name]);
    }
  }
}

/** The sample, wrong in one field each. */
export const badValues = (spec: JsonSchema, sample: Sample): Refused[] =>
  [...fieldsOf(spec, sample.spec, ["spec"])].flatMap(({ path, schema, value }): Refused[] => {
    const at = pathText(path);
    const rows = badValuesOf(schema, value).map(([wrong, bad]) => ({
      ...{ name: `${sample.kind}: ${at} ${wrong}`, at },
      object: withValue(sample, path, bad),
    }));
    const missing = (schema.required ?? []).map((name) => ({
      ...{ name: `${sample.kind}: ${at}.${name} missing`, at: `${at}.${name}` },
      object: withValue(sample, [...path, name], undefined),
    }));
    const unknown =
      schema.properties === undefined
        ? []
        : [
            {
              ...{ name: `${sample.kind}: ${at} with an unknown field`, at: `${at}.nobodyReads` },
              object: withValue(sample, [...path, "nobodyReads"], true),
            },
          ];
    return [...rows, ...missing, ...unknown];
  });

/**
 * Fields of the kinds. A field is made once, and says both: its structural OpenAPI v3 schema, as
 * the API server wants it, and the TypeScript type of its values. Every field has a description and
 * bounds, because the functions here ask for them.
 */

/** A CEL rule of a schema (`x-kubernetes-validations`). */
export interface Rule {
  readonly rule: string;
  /** For people: what is wrong, and what to do. */
  readonly message: string;
  /** Field below that the error is about, such as `.topicName`. */
  readonly fieldPath?: string;
  readonly reason?: "FieldValueForbidden" | "FieldValueInvalid" | "FieldValueRequired";
}

/** The part of OpenAPI v3 that structural schemas need. */
export interface JsonSchema {
  readonly type?: "array" | "boolean" | "integer" | "number" | "object" | "string";
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly (number | string)[];
  readonly format?: "date-time" | "int32" | "int64";
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: JsonSchema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: JsonSchema;
  readonly maxProperties?: number;
  readonly "x-kubernetes-int-or-string"?: true;
  readonly "x-kubernetes-list-type"?: "atomic" | "map" | "set";
  readonly "x-kubernetes-list-map-keys"?: readonly string[];
  readonly "x-kubernetes-map-type"?: "atomic" | "granular";
  readonly "x-kubernetes-validations"?: readonly Rule[];
}

/** Whether a stored object has the field: the API server fills in what has a default. */
export type Presence = "defaulted" | "optional" | "required";

export interface Field<T, P extends Presence = Presence> {
  readonly schema: JsonSchema;
  readonly presence: P;
  /** Never set: it ties the schema to the type of its values. */
  readonly value?: T;
}

/** The fields of an object, by name. */
export type Fields = Readonly<Record<string, Field<unknown>>>;

/** The type of a field's values. */
export type ValueOf<F> = F extends Field<infer T> ? T : never;

type IsOptional<F> = F extends { readonly presence: "optional" } ? true : false;

/** An object as the API server keeps it. */
export type ObjectOf<F extends Fields> = {
  readonly [K in keyof F as IsOptional<F[K]> extends true ? never : K]: ValueOf<F[K]>;
} & {
  readonly [K in keyof F as IsOptional<F[K]> extends true ? K : never]?: ValueOf<F[K]>;
};

/** What every field says. */
interface Common<T> {
  /** For people: the unit, the range where it is not plain, and what happens on change. */
  readonly description: string;
  readonly default?: T;
  readonly rules?: readonly Rule[];
}

type PresenceOf<O> = O extends { readonly default: unknown } ? "defaulted" : "required";

const field = <T, O extends Common<unknown>>(
  schema: JsonSchema,
  options: O,
): Field<T, PresenceOf<O>> => {
  const { description, rules, default: value } = options;
  return {
    schema: {
      description,
      ...schema,
      ...(value === undefined ? {} : { default: value }),
      ...(rules === undefined ? {} : { "x-kubernetes-validations": rules }),
    },
    presence: (value === undefined ? "required" : "defaulted") as PresenceOf<O>,
  };
};

/** The field may be left out, and then is. */
export const optional = <T>({ schema }: Field<T>): Field<T, "optional"> => ({
  schema,
  presence: "optional",
});

interface TextOptions extends Common<string> {
  /** Characters. */
  readonly min?: number;
  readonly max: number;
  readonly pattern?: string;
}

export const text = <O extends TextOptions>(options: O): Field<string, PresenceOf<O>> => {
  const { min, max, pattern } = options;
  return field(
    {
      type: "string",
      ...(min === undefined ? {} : { minLength: min }),
      maxLength: max,
      ...(pattern === undefined ? {} : { pattern }),
    },
    options,
  );
};

/** A time as RFC 3339 has it. */
export const time = <O extends Common<string>>(options: O): Field<string, PresenceOf<O>> =>
  field({ type: "string", format: "date-time" }, options);

/** One of a few words. */
export const choice = <const C extends string, O extends Common<C>>(
  choices: readonly C[],
  options: O & Common<C>,
): Field<C, PresenceOf<O>> => field({ type: "string", enum: choices }, options);

interface NumberOptions extends Common<number> {
  readonly min: number;
  readonly max: number;
}

const int32Max = 2 ** 31 - 1;

export const integer = <O extends NumberOptions>(options: O): Field<number, PresenceOf<O>> => {
  const { min, max } = options;
  const format = max > int32Max ? "int64" : "int32";
  return field({ type: "integer", format, minimum: min, maximum: max }, options);
};

/** One of a few whole numbers. */
export const integerChoice = <O extends Common<number>>(
  choices: readonly number[],
  options: O,
): Field<number, PresenceOf<O>> =>
  field({ type: "integer", format: "int32", enum: choices }, options);

/** A number that need not be whole. */
export const decimal = <O extends NumberOptions>(options: O): Field<number, PresenceOf<O>> =>
  field({ type: "number", minimum: options.min, maximum: options.max }, options);

export const flag = <O extends Common<boolean>>(options: O): Field<boolean, PresenceOf<O>> =>
  field({ type: "boolean" }, options);

/** A whole number, or text such as `500m`. */
export const intOrString = <O extends TextOptions>(
  options: O,
): Field<number | string, PresenceOf<O>> => {
  const { max, pattern } = options;
  return field(
    {
      "x-kubernetes-int-or-string": true,
      maxLength: max,
      ...(pattern === undefined ? {} : { pattern }),
    },
    options,
  );
};

interface ListOptions extends Common<readonly unknown[]> {
  readonly min?: number;
  readonly max: number;
  /**
   * How lists of several writers are merged: `set` for values that are there once, names of fields
   * that tell the items apart, `atomic` for a list that has one owner.
   */
  readonly merge: "atomic" | "set" | readonly string[];
}

export const list = <T, O extends ListOptions>(
  items: Field<T>,
  options: O,
): Field<readonly T[], PresenceOf<O>> => {
  const { min, max, merge } = options;
  const how: JsonSchema =
    typeof merge === "string"
      ? { "x-kubernetes-list-type": merge }
      : { "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": merge };
  return field(
    {
      type: "array",
      items: items.schema,
      ...(min === undefined ? {} : { minItems: min }),
      maxItems: max,
      ...how,
    },
    options,
  );
};

interface MapOptions extends Common<Readonly<Record<string, unknown>>> {
  readonly max: number;
  /** Characters of a key. */
  readonly keyMax: number;
}

export const map = <T, O extends MapOptions>(
  values: Field<T>,
  options: O,
): Field<Readonly<Record<string, T>>, PresenceOf<O>> => {
  const { max, keyMax, rules = [] } = options;
  const keys: Rule = {
    rule: `self.all(key, size(key) > 0 && size(key) <= ${keyMax})`,
    message: `a key is empty, or longer than ${keyMax} characters: shorten it`,
  };
  return field(
    { type: "object", additionalProperties: values.schema, maxProperties: max },
    { ...options, rules: [keys, ...rules] },
  );
};

type ObjectOptions = Common<Readonly<Record<string, unknown>>>;

export const object = <F extends Fields, O extends ObjectOptions>(
  fields: F,
  options: O,
): Field<ObjectOf<F>, PresenceOf<O>> => {
  const entries = Object.entries(fields);
  const required = entries.flatMap(([name, { presence }]) => (presence === "required" ? name : []));
  return field(
    {
      type: "object",
      ...(required.length === 0 ? {} : { required }),
      properties: Object.fromEntries(entries.map(([name, { schema }]) => [name, schema])),
    },
    options,
  );
};

/** Evaluates CEL rules as the API server does, as far as the kinds need it. */
import {
  type CelInput,
  CelScalar,
  celEnv,
  celFunc,
  celMethod,
  isCelError,
  parse,
  plan,
} from "@bufbuild/cel";
import { celName } from "../rules.ts";
import type { JsonSchema } from "../schema.ts";

const units: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["m", 1e-3],
  ...["k", "M", "G", "T", "P"].map((unit, i) => [unit, 1000 ** (i + 1)] as const),
  ...["Ki", "Mi", "Gi", "Ti", "Pi"].map((unit, i) => [unit, 1024 ** (i + 1)] as const),
]);

const quantityOf = (text: string): number => {
  const match = /^([0-9.]+)([a-zA-Z]*)$/.exec(text);
  const unit = units.get(match?.[2] ?? "?");
  if (match === null || unit === undefined) throw new Error(`no quantity: ${text}`);
  return Number(match[1]) * unit;
};

/** Quantities are numbers here; Kubernetes has a type of their own for them. */
const funcs = [
  celFunc("quantity", [CelScalar.STRING], CelScalar.DOUBLE, quantityOf),
  celMethod(
    "compareTo",
    CelScalar.DOUBLE,
    [CelScalar.DOUBLE],
    CelScalar.INT,
    function compare(this: number, other: number) {
      return BigInt(Math.sign(this - other));
    },
  ),
];

const env = celEnv({ funcs });

/** A value of JSON as CEL has it: integers are integers, names of fields are escaped. */
export const celInput = (schema: JsonSchema, value: unknown): CelInput => {
  if (Array.isArray(value)) return value.map((one) => celInput(schema.items ?? {}, one));
  if (typeof value === "object" && value !== null) {
    const values = schema.additionalProperties;
    return new Map(
      Object.entries(value).map(([name, one]): [string, CelInput] =>
        values === undefined
          ? [celName(name), celInput(schema.properties?.[name] ?? {}, one)]
          : [name, celInput(values, one)],
      ),
    );
  }
  if (typeof value === "number" && schema.type !== "number" && Number.isInteger(value)) {
    return BigInt(value);
  }
  return value as boolean | number | string;
};

type Rule = (variables: Record<string, CelInput>) => unknown;

const planned = new Map<string, Rule>();

/** Whether a rule holds. Throws for one that is wrong itself. */
export const holds = (rule: string, variables: Record<string, CelInput>): boolean => {
  const known = planned.get(rule) ?? (plan(env, parse(rule)) as Rule);
  planned.set(rule, known);
  const result = known(variables);
  if (isCelError(result)) throw new Error(`${rule}: ${result.message}`);
  if (typeof result !== "boolean") throw new Error(`${rule}: not true or false`);
  return result;
};

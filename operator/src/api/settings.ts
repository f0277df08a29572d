/** Fields for settings of processes and configs of topics, from the product's own tables. */
import { choice, decimal, type Field, type Fields, flag, integer, optional } from "./schema.ts";

/** A setting as `operator/gen/product.ts` has it. */
interface Setting {
  readonly type: "boolean" | "choice" | "decimal" | "integer";
  readonly unit?: "bytes" | "count" | "milliseconds" | "seconds";
  readonly choices?: readonly string[];
  readonly min?: number;
  readonly max?: number;
  readonly default: boolean | number | string;
  readonly defaultText: string;
  readonly isDynamic: boolean;
  readonly description: string;
}

export type Settings = Readonly<Record<string, Setting>>;

type SettingValue<S extends Setting> = S extends { readonly choices: readonly (infer C)[] }
  ? C
  : S extends { readonly type: "boolean" }
    ? boolean
    : number;

/** A field per setting, none of them required. */
type SettingFields<T extends Settings> = {
  readonly [K in keyof T]: Field<SettingValue<T[K]>, "optional">;
};

const units = {
  bytes: "In bytes; ",
  count: "",
  milliseconds: "In milliseconds; ",
  seconds: "In seconds; ",
} as const;

const fieldOf = (setting: Setting): Field<unknown> => {
  const { choices, max, min, unit } = setting;
  const end = `${setting.defaultText} where it is left out.`;
  const about = (start: string) => ({ description: `${setting.description} ${start}${end}` });
  if (choices !== undefined) return choice(choices, about(""));
  if (setting.type === "boolean") return flag(about(""));
  if (min === undefined || max === undefined) throw new Error(`no bounds: ${setting.description}`);
  if (setting.type === "decimal") return decimal({ ...about(""), min, max });
  return integer({ ...about(unit === undefined ? "" : units[unit]), min, max });
};

/**
 * The fields have no defaults of their own: what is left out follows the product's defaults, also
 * those of a later version.
 */
export const settingFields = <T extends Settings>(settings: T): SettingFields<T> => {
  const fields: Fields = Object.fromEntries(
    Object.entries(settings).map(([key, setting]) => [key, optional(fieldOf(setting))]),
  );
  return fields as SettingFields<T>;
};

/**
 * Configuration schemas. Each service has one; parsing, `--help`, the reference page and all error
 * texts come from it. Precedence: flags, environment, file, defaults.
 */
import { digitsText, ErrorCode, MillraceError, sizeText } from "@millrace/errors";
import { durationText, parseBytes, parseDurationMs } from "./units.ts";

/** A setting without a default must be set. */
interface Common {
  /** For people; one or two sentences, no trailing newline. */
  readonly description: string;
  /** True: takes effect without a restart. */
  readonly dynamic?: boolean;
  /** True: shown as `[redacted]`, never logged. */
  readonly secret?: boolean;
}

/** A whole number, counted in `unit`. */
export interface IntegerSetting extends Common {
  readonly type: "integer";
  readonly unit: "bytes" | "milliseconds" | "seconds" | "count";
  readonly min: number;
  readonly max: number;
  readonly default?: number;
}

/** A number that need not be whole, such as a part of something. */
export interface DecimalSetting extends Common {
  readonly type: "decimal";
  readonly min: number;
  readonly max: number;
  readonly default?: number;
}

/** One of a few words. */
export interface ChoiceSetting<C extends string = string> extends Common {
  readonly type: "choice";
  readonly choices: readonly C[];
  readonly default?: C;
}

/** True or false. */
export interface BooleanSetting extends Common {
  readonly type: "boolean";
  readonly default?: boolean;
}

/** Text. `pattern` and `hint` say what is allowed. */
export interface TextSetting extends Common {
  readonly type: "text";
  readonly pattern: RegExp;
  readonly hint: string;
  readonly default?: string;
}

export type Setting =
  | IntegerSetting
  | DecimalSetting
  | ChoiceSetting
  | BooleanSetting
  | TextSetting;

/** Settings by key. */
export type Schema = Readonly<Record<string, Setting>>;

/** The value type of a setting. */
export type ValueOf<S extends Setting> = S extends IntegerSetting | DecimalSetting
  ? number
  : S extends ChoiceSetting<infer C>
    ? C
    : S extends BooleanSetting
      ? boolean
      : string;

/** Values of a schema. */
export type Values<S extends Schema> = { readonly [K in keyof S]: ValueOf<S[K]> };

/** Where a value came from. */
export type Source = "flag" | "environment" | "file" | "default";

/** A resolved configuration. */
export interface Resolved<S extends Schema> {
  readonly values: Values<S>;
  readonly sources: { readonly [K in keyof S]: Source };
}

const numberText = ({ unit }: IntegerSetting, value: number): string => {
  // -1 stands for something else than a size or a time.
  if (unit === "count" || value < 0) return digitsText(value);
  if (unit === "bytes") return sizeText(value);
  return durationText(unit === "seconds" ? value * 1000 : value);
};

/** The default, for people; undefined where there is none. */
export const defaultOf = (setting: Setting): string | undefined => {
  if (setting.default === undefined) return undefined;
  if (setting.type !== "integer") return JSON.stringify(setting.default);
  return setting.default === Number.MAX_SAFE_INTEGER
    ? "no limit"
    : numberText(setting, setting.default);
};

/** Allowed values, for people. */
export const allowedOf = (setting: Setting): string => {
  switch (setting.type) {
    case "integer":
      return setting.max === Number.MAX_SAFE_INTEGER
        ? `${numberText(setting, setting.min)} or more`
        : `${numberText(setting, setting.min)} to ${numberText(setting, setting.max)}`;
    case "decimal":
      return `${setting.min} to ${setting.max}`;
    case "choice":
      return setting.choices.map((choice) => (choice === "" ? '""' : choice)).join(", ");
    case "boolean":
      return "true, false";
    case "text":
      return setting.hint;
  }
};

/** Longest part of a value that an error repeats, characters. */
const shownMax = 80;

/** A value in an error: quoted, and cut. */
const quoted = (raw: unknown): string => {
  const text = typeof raw === "string" ? raw : (JSON.stringify(raw) ?? String(raw));
  const short = text.slice(0, shownMax);
  const shown = typeof raw === "string" ? JSON.stringify(short) : short;
  return text.length > shownMax ? `${shown}…` : shown;
};

const refuse = (key: string, raw: unknown, setting: Setting): MillraceError =>
  new MillraceError(
    ErrorCode.INVALID_CONFIG,
    `${key}: ${setting.secret === true ? "the value" : quoted(raw)} is not allowed: ` +
      `use ${allowedOf(setting)}`,
    { facts: { key } },
  );

const parseInteger = (setting: IntegerSetting, raw: unknown): number | undefined => {
  if (typeof raw === "number") return raw;
  if (typeof raw === "bigint") return Number(raw);
  if (typeof raw !== "string") return undefined;
  if (setting.unit === "bytes") return parseBytes(raw);
  if (setting.unit === "milliseconds") return parseDurationMs(raw);
  if (setting.unit === "seconds") {
    const ms = /^-?\d+$/.test(raw.trim()) ? Number(raw) * 1000 : parseDurationMs(raw);
    return ms === undefined ? undefined : ms / 1000;
  }
  return /^-?\d+$/.test(raw.trim()) ? Number(raw) : undefined;
};

/** NaN for anything but digits with or without a fraction. */
const parseDecimal = (raw: string): number =>
  /^\d+(\.\d+)?$/.test(raw.trim()) ? Number(raw) : Number.NaN;

/** Parses a raw value (text, or a YAML scalar). Throws INVALID_CONFIG with key, value and range. */
export const parseSetting = (
  key: string,
  setting: Setting,
  raw: unknown,
): string | number | boolean => {
  switch (setting.type) {
    case "integer": {
      const value = parseInteger(setting, raw);
      const fits = value !== undefined && Number.isSafeInteger(value);
      if (!fits || value < setting.min || value > setting.max) throw refuse(key, raw, setting);
      return value;
    }
    case "decimal": {
      const value = typeof raw === "string" ? parseDecimal(raw) : Number(raw);
      if (!(value >= setting.min && value <= setting.max)) throw refuse(key, raw, setting);
      return value;
    }
    case "choice":
      if (typeof raw !== "string" || !setting.choices.includes(raw))
        throw refuse(key, raw, setting);
      return raw;
    case "boolean":
      if (raw === true || raw === "true") return true;
      if (raw === false || raw === "false") return false;
      throw refuse(key, raw, setting);
    case "text":
      if (typeof raw !== "string" || !setting.pattern.test(raw)) throw refuse(key, raw, setting);
      return raw;
  }
};

/** Similar keys of the schema, at most three. */
const similar = (key: string, schema: Schema): string[] =>
  Object.keys(schema)
    // The comparison takes time in the product of both lengths.
    .filter((known) => Math.abs(known.length - key.length) <= 3)
    .map((known) => ({ known, distance: editDistance(key, known) }))
    .filter(({ distance }) => distance <= 3)
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ known }) => known);

const editDistance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      const best = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + same);
      next.push(best);
    }
    row = next;
  }
  return row[b.length] ?? 0;
};

/** INVALID_CONFIG for a key that is not in the schema. */
export const unknownKey = (key: string, where: string, schema: Schema): MillraceError => {
  const near = similar(key, schema);
  const hint = near.length > 0 ? `did you mean ${near.join(" or ")}?` : "see --help for the keys";
  return new MillraceError(
    ErrorCode.INVALID_CONFIG,
    `${where}: unknown key ${quoted(key)}: ${hint}`,
    { facts: { key: key.slice(0, shownMax) } },
  );
};

/** `MILLRACE_DATA_DIR` for `data-dir`. */
export const environmentName = (key: string): string =>
  `MILLRACE_${key.toUpperCase().replaceAll(/[-.]/g, "_")}`;

/** Raw values by source. */
export interface RawSources {
  /** By key, without the dashes. Undefined values are absent. */
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Parsed file, or undefined without one. */
  readonly file?: unknown;
  /** Name of the file, for error texts. */
  readonly fileName?: string;
}

const fileEntries = (raw: RawSources, schema: Schema): ReadonlyMap<string, unknown> => {
  const name = raw.fileName ?? "config file";
  if (raw.file === undefined || raw.file === null) return new Map();
  if (typeof raw.file !== "object" || Array.isArray(raw.file)) {
    throw new MillraceError(
      ErrorCode.INVALID_CONFIG,
      `${name}: not a mapping: use lines of "key: value"`,
    );
  }
  const entries = new Map<string, unknown>(Object.entries(raw.file));
  for (const key of entries.keys()) {
    if (!Object.hasOwn(schema, key)) throw unknownKey(key, name, schema);
  }
  return entries;
};

const missing = (key: string, setting: Setting): MillraceError =>
  new MillraceError(
    ErrorCode.INVALID_CONFIG,
    `--${key} is not set, and has no default: use ${allowedOf(setting)}`,
    { facts: { key } },
  );

/** Resolves a configuration. Throws INVALID_CONFIG. */
export const resolveConfig = <S extends Schema>(schema: S, raw: RawSources): Resolved<S> => {
  const file = fileEntries(raw, schema);
  for (const key of Object.keys(raw.flags)) {
    if (!Object.hasOwn(schema, key)) throw unknownKey(key, "command line", schema);
  }
  const values: Record<string, string | number | boolean> = {};
  const sources: Record<string, Source> = {};
  for (const [key, setting] of Object.entries(schema)) {
    const flag = raw.flags[key];
    const fromEnvironment = raw.environment[environmentName(key)] ?? "";
    if (flag !== undefined) {
      values[key] = parseSetting(`--${key}`, setting, flag);
      sources[key] = "flag";
      // Shells and compose files pass unset variables as empty ones.
    } else if (fromEnvironment !== "") {
      values[key] = parseSetting(environmentName(key), setting, fromEnvironment);
      sources[key] = "environment";
    } else if (file.has(key)) {
      values[key] = parseSetting(
        `${raw.fileName ?? "config file"}: ${key}`,
        setting,
        file.get(key),
      );
      sources[key] = "file";
    } else {
      if (setting.default === undefined) throw missing(key, setting);
      values[key] = setting.default;
      sources[key] = "default";
    }
  }
  return { values, sources } as unknown as Resolved<S>;
};

/** Values for `/configz`: secrets redacted. */
export const redactedValues = <S extends Schema>(
  schema: S,
  resolved: Resolved<S>,
): Record<string, { value: unknown; source: Source }> => {
  const shown: Record<string, { value: unknown; source: Source }> = {};
  for (const [key, setting] of Object.entries(schema)) {
    const value = setting.secret === true ? "[redacted]" : resolved.values[key];
    shown[key] = { value, source: resolved.sources[key] ?? "default" };
  }
  return shown;
};

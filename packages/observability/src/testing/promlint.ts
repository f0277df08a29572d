/**
 * The rules of Prometheus's own linter (`promtool check metrics`) over a page of metrics, and those
 * of Prometheus's naming page that it does not check: a prefix that is repeated, and names that are
 * not snake_case.
 */

/** A metric of a page in the text format. */
export interface Family {
  readonly name: string;
  type: string;
  help: string;
  /** Names of labels of its samples. */
  readonly labels: Set<string>;
  /** Times that it is declared. */
  declared: number;
}

const sampleGrammar = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$/;
const labelGrammar = /([^\s,={}"]+)="(?:[^"\\]|\\.)*"/g;

const suffixes: Readonly<Record<string, readonly string[]>> = {
  histogram: ["_bucket", "_sum", "_count"],
  summary: ["_sum", "_count"],
};

/** The metrics of a page. Throws where a line is none of the format. */
export const familiesOf = (page: string): ReadonlyMap<string, Family> => {
  const families = new Map<string, Family>();
  const familyOf = (name: string): Family => {
    const family = families.get(name) ?? {
      ...{ name, type: "untyped", help: "", labels: new Set<string>(), declared: 0 },
    };
    families.set(name, family);
    return family;
  };
  const familyOfSample = (name: string): Family => {
    for (const [type, ends] of Object.entries(suffixes)) {
      const end = ends.find((one) => name.endsWith(one));
      const family = end === undefined ? undefined : families.get(name.slice(0, -end.length));
      if (family?.type === type) return family;
    }
    return familyOf(name);
  };
  for (const line of page.split("\n")) {
    const [, keyword, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) ?(.*)$/.exec(line) ?? [];
    if (keyword === "HELP") familyOf(name).help = rest;
    else if (keyword === "TYPE") {
      const family = familyOf(name);
      family.type = rest;
      family.declared += 1;
    } else if (line !== "" && !line.startsWith("#")) {
      const sample = sampleGrammar.exec(line);
      if (sample === null) throw new Error(`not a line of the text format: ${line}`);
      const family = familyOfSample(sample[1] ?? "");
      for (const [, label = ""] of (sample[2] ?? "").matchAll(labelGrammar)) {
        family.labels.add(label);
      }
    }
  }
  return families;
};

/** Units that are not base units, with what to use instead. */
const otherUnits: Readonly<Record<string, string>> = {
  ...{ minutes: "seconds", hours: "seconds", days: "seconds", weeks: "seconds", bits: "bytes" },
  ...{ kelvins: "kelvin", fahrenheit: "celsius", rankine: "celsius" },
  ...{ inches: "meters", yards: "meters", miles: "meters" },
  ...{ calories: "joules", pounds: "grams", ounces: "grams" },
};
const baseUnits = new Set([
  ...["amperes", "bytes", "celsius", "grams", "joules", "kelvin", "meters", "metres", "seconds"],
  "volts",
]);
const multiples =
  /^(pico|nano|micro|milli|centi|deci|deca|hecto|kilo|kibi|mega|mebi|mibi|giga|gibi|tera|tebi|peta|pebi)/;
const abbreviations = new Set([
  ...["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"],
]);
const types = ["counter", "gauge", "histogram", "summary", "gauge_histogram"];

const baseUnitOf = (word: string): string | undefined => {
  const unit = word.replace(multiples, "");
  const base = otherUnits[unit] ?? (baseUnits.has(unit) ? unit : undefined);
  return base === word ? undefined : base;
};

/** What is wrong with a name, whatever the type. */
function* nameProblems({ name }: Family): Generator<string> {
  if (!/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(name)) yield "the name is not snake_case";
  const words = name.split("_");
  for (const word of words) {
    const base = baseUnitOf(word);
    if (base !== undefined) yield `use base unit ${base} instead of ${word}`;
    if (abbreviations.has(word)) yield `${word} abbreviates a unit`;
  }
  for (const type of types) {
    if (`${name}_`.includes(`_${type}_`)) yield `the name has the type ${type}`;
  }
  const repeated = words.find((word, i) => word === words[i - 1]);
  if (repeated !== undefined) yield `${repeated} is repeated`;
}

function* typeProblems({ name, type, labels }: Family): Generator<string> {
  if (type === "counter" && !name.endsWith("_total")) yield "a counter does not end in _total";
  if (type !== "counter" && name.endsWith("_total")) yield `a ${type} ends in _total`;
  for (const suffix of ["_count", "_sum", "_bucket"]) {
    if (name.endsWith(suffix)) yield `${suffix} is a suffix of histograms`;
  }
  if (type !== "histogram" && labels.has("le")) yield "the label le is one of histograms";
  if (type !== "summary" && labels.has("quantile")) yield "the label quantile is one of summaries";
}

function* problemsOf(family: Family): Generator<string> {
  if (family.help === "") yield "no help text";
  if (!(family.type in suffixes || ["counter", "gauge"].includes(family.type))) yield "no type";
  if (family.declared > 1) yield "declared more than once";
  for (const label of family.labels) {
    if (!/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(label)) yield `the label ${label} is not snake_case`;
  }
  yield* nameProblems(family);
  yield* typeProblems(family);
}

/** What is wrong with a page in Prometheus's text format, a line for each problem. */
export const promlint = (page: string): string[] =>
  [...familiesOf(page).values()].flatMap((family) =>
    [...problemsOf(family)].map((problem) => `${family.name}: ${problem}`),
  );

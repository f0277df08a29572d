import assert from "node:assert/strict";
import { test } from "node:test";
import { familiesOf, promlint } from "./promlint.ts";

/** A page with one metric, of one sample. */
const page = (name: string, type: string, sample = `${name} 1`): string =>
  `# HELP ${name} What it is.\n# TYPE ${name} ${type}\n${sample}\n`;

const problemsOf = (name: string, type: string, sample?: string): string[] =>
  promlint(page(name, type, sample)).map((line) => line.slice(name.length + 2));

test("a page of good metrics has no problems", () => {
  const histogram = [
    "# HELP a_wait_seconds How long.",
    "# TYPE a_wait_seconds histogram",
    'a_wait_seconds_bucket{le="+Inf"} 1',
    "a_wait_seconds_sum 0.5",
    "a_wait_seconds_count 1",
  ];
  const text = page("a_bytes_total", "counter", 'a_bytes_total{topic="x{y=\\"z,\\\\"} 1');
  assert.deepEqual(promlint(`${text}\n${histogram.join("\n")}\n`), []);
  const [first, second] = [...familiesOf(`${text}${histogram.join("\n")}`).values()];
  assert.deepEqual([first?.name, [...(first?.labels ?? [])]], ["a_bytes_total", ["topic"]]);
  assert.deepEqual([second?.type, [...(second?.labels ?? [])]], ["histogram", ["le"]]);
  assert.throws(() => promlint("a b c d\n"), /not a line/);
});

test("every rule finds what breaks it", () => {
  for (const [name, type, problem, sample] of [
    ["a_things", "counter", "a counter does not end in _total"],
    ["a_things_total", "gauge", "a gauge ends in _total"],
    ["a_things_count", "gauge", "_count is a suffix of histograms"],
    ["a_things_sum", "gauge", "_sum is a suffix of histograms"],
    ["a_things_bucket", "gauge", "_bucket is a suffix of histograms"],
    ["a_wait_milliseconds", "gauge", "use base unit seconds instead of milliseconds"],
    ["a_age_days", "gauge", "use base unit seconds instead of days"],
    ["a_size_kilobytes", "gauge", "use base unit bytes instead of kilobytes"],
    ["a_rate_megabits_total", "counter", "use base unit bytes instead of megabits"],
    ["a_wait_ms", "gauge", "ms abbreviates a unit"],
    ["a_size_gauge", "gauge", "the name has the type gauge"],
    ["a_counter_total", "counter", "the name has the type counter"],
    ["a_rpc_rpc_calls", "gauge", "rpc is repeated"],
    ["aThing", "gauge", "the name is not snake_case"],
    ["a:thing", "gauge", "the name is not snake_case"],
    ["a_size", "gauge", "the label topicName is not snake_case", 'a_size{topicName="x"} 1'],
    ["a_size", "gauge", "the label le is one of histograms", 'a_size{le="1"} 1'],
    ["a_size", "gauge", "the label quantile is one of summaries", 'a_size{quantile="1"} 1'],
  ] as const) {
    assert.deepEqual(problemsOf(name, type, sample), [problem], name);
  }
  assert.deepEqual(promlint("# TYPE a_size gauge\na_size 1\n"), ["a_size: no help text"]);
  assert.deepEqual(promlint("# HELP a_size Size.\na_size 1\n"), ["a_size: no type"]);
  const twice = page("a_size", "gauge").repeat(2);
  assert.deepEqual(promlint(twice), ["a_size: declared more than once"]);
});

/** What the kinds refuse, and what they admit, by schemas and rules. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { kinds, schemaOf } from "./index.ts";
import type { JsonSchema } from "./schema.ts";
import { problemsOf } from "./testing/admission.ts";
import { badRules, goodChanges } from "./testing/bad-rules.ts";
import { badValues, type Refused, withValue } from "./testing/bad-values.ts";
import { type Sample, samples } from "./testing/samples.ts";

const schemas: ReadonlyMap<string, JsonSchema> = new Map(
  kinds.map((kind) => [kind.kind, schemaOf(kind)]),
);
const schemaFor = ({ kind }: Sample): JsonSchema => {
  const schema = schemas.get(kind);
  assert.ok(schema !== undefined, kind);
  return schema;
};

/** Why a row is not refused as it should be; undefined where it is. */
const missed = ({ at, before, name, object, says = "" }: Refused): string | undefined => {
  const problems = problemsOf(schemaFor(object), object, before);
  const isRefused = problems.some((one) => one.includes(at) && one.includes(says));
  return isRefused ? undefined : `${name}: ${JSON.stringify(problems)}`;
};

test("every sample is admitted, and an unchanged one is no change", () => {
  for (const sample of Object.values(samples)) {
    assert.deepEqual(problemsOf(schemaFor(sample), sample, sample), [], sample.metadata.name);
  }
});

test("every field out of its bounds is refused", () => {
  const rows = Object.values(samples).flatMap((sample) =>
    badValues(schemaFor(sample).properties?.["spec"] ?? {}, sample),
  );
  assert.ok(rows.length > 1000, String(rows.length));
  assert.deepEqual(rows.map(missed).filter(Boolean), []);
});

test("what rules forbid is refused, with a message that says what to do", () => {
  assert.deepEqual(badRules.map(missed).filter(Boolean), []);
});

test("changes that are meant to be possible are admitted", () => {
  for (const { before, name, object } of goodChanges) {
    assert.deepEqual(problemsOf(schemaFor(object), object, before), [], name);
  }
});

/** The bounds themselves: the last value that is admitted, and the first that is not. */
const bounds: readonly (readonly [
  sample: keyof typeof samples,
  path: readonly (number | string)[],
  good: unknown,
  bad: unknown,
])[] = [
  ["topic", ["spec", "partitions"], 10_000, 10_001],
  ["topic", ["spec", "partitions"], 6, 0],
  ["topic", ["spec", "replicationFactor"], 32, 33],
  ["topic", ["spec", "topicName"], "x".repeat(249), "x".repeat(250)],
  ["topic", ["spec", "topicName"], "...", "a/b"],
  ["topic", ["spec", "config", "max.message.bytes"], 8_388_608, 8_388_609],
  ["topic", ["spec", "config", "min.cleanable.dirty.ratio"], 0.25, 1.01],
  ["topic", ["spec", "config", "cleanup.policy"], "compact,delete", "compact, delete"],
  ["topic", ["spec", "config", "retention.ms"], -1, -2],
  ["topic", ["spec", "config", "retention.ms"], Number.MAX_SAFE_INTEGER, "7d"],
  ["pool", ["spec", "replicas"], 0, -1],
  ["pool", ["spec", "storage", "size"], "1Gi", "0Gi"],
  ["pool", ["spec", "storage", "size"], "1Ti", "1.5Ti"],
  ["pool", ["spec", "template", "terminationGracePeriodSeconds"], 10, 9],
  ["pool", ["spec", "clusterRef", "name"], "x".repeat(40), "x".repeat(41)],
  ["broker", ["spec", "nodeId"], 2_147_483_647, 2_147_483_648],
  ["broker", ["spec", "nodeId"], 0, -1],
  ["cluster", ["spec", "controllers", "replicas"], 1, 0],
  ["cluster", ["spec", "controllers", "replicas"], 5, 6],
  ["cluster", ["spec", "coordinators", "replicas"], 0, -1],
  ["cluster", ["spec", "etcd", "managed", "replicas"], 1, 2],
  ["cluster", ["spec", "listeners", 0, "port"], 1024, 1023],
  ["cluster", ["spec", "listeners", 0, "port"], 65_535, 65_536],
  ["cluster", ["spec", "rollout", "maxUnavailablePerRack"], 100, 101],
  ["cluster", ["spec", "rollout", "pauseSeconds"], 3600, 3601],
  ["cluster", ["spec", "image"], "a/b@sha256:0123", "a/b"],
  ["cluster", ["spec", "image"], "localhost:5000/b:1", "localhost:5000/b"],
  ["external", ["spec", "etcd", "external", "prefix"], "/a/", "/a"],
  ["rebalance", ["spec", "movesPerBroker"], 100, 101],
  ["rebalance", ["spec", "movesPerBroker"], 1, 0],
  ["rebalance", ["spec", "ttlSecondsAfterFinished"], 0, -1],
];

test("bounds are where the product has them", () => {
  for (const [name, path, good, bad] of bounds) {
    const sample: Sample = samples[name];
    const schema = schemaFor(sample);
    const what = `${path.join(".")}: ${JSON.stringify(good)}`;
    assert.deepEqual(problemsOf(schema, withValue(sample, path, good)), [], what);
    assert.notDeepEqual(problemsOf(schema, withValue(sample, path, bad)), [], JSON.stringify(bad));
  }
});

test("a list of topics that a plan leaves out has at most 1,000", () => {
  const names = Array.from({ length: 1001 }, (_, i) => `t${i}`);
  const of = (count: number) =>
    withValue(samples.rebalance as Sample, ["spec", "excludedTopics"], names.slice(0, count));
  assert.deepEqual(problemsOf(schemaFor(samples.rebalance), of(1000)), []);
  assert.notDeepEqual(problemsOf(schemaFor(samples.rebalance), of(1001)), []);
});

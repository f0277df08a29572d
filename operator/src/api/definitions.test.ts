/** What an API server, people and tools expect of the definitions. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";
import { type Cluster, conditions, customResourceDefinition, kinds, schemaOf } from "./index.ts";
import type { JsonSchema } from "./schema.ts";
import { problemsOf, withDefaults } from "./testing/admission.ts";
import { fieldsOf, pathText } from "./testing/bad-values.ts";
import { type Sample, samples } from "./testing/samples.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const read = (path: string): string => readFileSync(`${root}${path}`, "utf8");

interface Place {
  readonly path: string;
  readonly schema: JsonSchema;
}

/** Every schema of a kind with its path; items and values of maps are below a `[]`. */
function* places(schema: JsonSchema, path: string): Generator<Place> {
  yield { path, schema };
  for (const [name, one] of Object.entries(schema.properties ?? {})) {
    yield* places(one, `${path}.${name}`);
  }
  for (const one of [schema.items, schema.additionalProperties]) {
    if (one !== undefined) yield* places(one, `${path}[]`);
  }
}

const all = kinds.flatMap((kind) => [...places(schemaOf(kind), kind.kind)]);
const isMetadata = (path: string): boolean => path.endsWith(".metadata");

const none = (found: readonly Place[], what: string): void =>
  assert.deepEqual(
    found.map(({ path }) => path),
    [],
    what,
  );

test("schemas are structural: every value has a type, and nothing is said elsewhere", () => {
  none(
    all.filter(({ schema }) => {
      const isEither = schema["x-kubernetes-int-or-string"] === true;
      return isEither === (schema.type !== undefined);
    }),
    "a type, or int-or-string",
  );
  const known = new RegExp(
    "^(additionalProperties|default|description|enum|format|items|pattern|properties|required" +
      "|type|(min|max)(imum|Length|Items|Properties)" +
      "|x-kubernetes-(int-or-string|list-type|list-map-keys|validations))$",
  );
  none(
    all.filter(({ schema }) => !Object.keys(schema).every((key) => known.test(key))),
    "no $ref, no anyOf, nothing that keeps unknown fields",
  );
  none(
    all.filter(({ schema }) => schema.properties !== undefined && schema.additionalProperties),
    "an object has fields or keys, not both",
  );
  none(
    all.filter(({ schema }) =>
      (schema.required ?? []).some((name) => schema.properties?.[name] === undefined),
    ),
    "what is required is there",
  );
});

test("every field says what it is, in sentences", () => {
  none(
    all.filter(({ path, schema: { description = "" } }) => {
      return !isMetadata(path) && !/^\S.*[.]$/s.test(description);
    }),
    "a description that ends with a full stop",
  );
  none(
    all.filter(({ schema }) => /\n|\{\{/.test(schema.description ?? "")),
    "one line that Helm leaves alone",
  );
});

test("everything has a bound", () => {
  const isText = ({ enum: choices, format, type }: JsonSchema): boolean =>
    type === "string" && choices === undefined && format === undefined;
  const fixed = /\.(apiVersion|kind)$/;
  none(
    all.filter(({ path, schema }) => {
      if (isMetadata(path) || fixed.test(path)) return false;
      const { additionalProperties, enum: choices, maxItems, maxLength, maxProperties } = schema;
      if (isText(schema) || schema["x-kubernetes-int-or-string"]) return maxLength === undefined;
      if (schema.type === "array") return maxItems === undefined;
      if (additionalProperties !== undefined) return maxProperties === undefined;
      if (schema.type !== "integer" && schema.type !== "number") return false;
      return choices === undefined && (schema.minimum ?? schema.maximum) === undefined;
    }),
    "maxLength, maxItems, maxProperties, or minimum and maximum",
  );
});

test("lists say how they are merged", () => {
  none(
    all.filter(({ schema }) => {
      if (schema.type !== "array") return false;
      const { items = {} } = schema;
      const keys = schema["x-kubernetes-list-map-keys"];
      switch (schema["x-kubernetes-list-type"]) {
        case "map":
          return !keys?.every(
            (key) =>
              items.required?.includes(key) || items.properties?.[key]?.default !== undefined,
          );
        case "set":
          return items.type === "object" || items.type === "array";
        case "atomic":
          return false;
        default:
          return true;
      }
    }),
    "x-kubernetes-list-type, with keys that each item has",
  );
  for (const kind of kinds) {
    const list = kind.status.schema.properties?.["conditions"];
    assert.deepEqual(list?.["x-kubernetes-list-map-keys"], ["type"], kind.kind);
  }
});

test("settings have no defaults of their own, and none that the operator gives itself", () => {
  const settings = all.filter(({ path }) => /^[A-Za-z]+\.spec\..*config\.[^.]/.test(path));
  assert.ok(settings.length > 100, String(settings.length));
  none(
    settings.filter(({ schema }) => schema.default !== undefined),
    "no default",
  );
  const own =
    /config\.(\w+-id|rack|data-dir|(.*-)?(listen|advertise)|etcd-.*|maintenance-leases.*)$/;
  none(
    settings.filter(({ path }) => own.test(path)),
    "none of the operator's",
  );
});

test("an autoscaler sees every broker of a pool", () => {
  const { scale } = kinds.find(({ kind }) => kind === "BrokerPool") ?? {};
  assert.deepEqual(scale, {
    specReplicasPath: ".spec.replicas",
    statusReplicasPath: ".status.replicas",
    labelSelectorPath: ".status.labelSelector",
  });
});

test("what has to be set", () => {
  const required = kinds.map(({ kind, spec }) => [kind, spec.schema.required ?? []]);
  assert.deepEqual(Object.fromEntries(required), {
    Cluster: [],
    BrokerPool: ["clusterRef", "storage"],
    Broker: ["clusterRef", "poolRef", "nodeId", "podTemplateHash", "configHash", "claimName"],
    Topic: ["clusterRef"],
    Rebalance: ["clusterRef"],
  });
});

test("rules say what is wrong and what to do", () => {
  const rules = all.flatMap(({ path, schema }) =>
    (schema["x-kubernetes-validations"] ?? []).map((rule) => ({ path, ...rule })),
  );
  assert.ok(rules.length > 50);
  const poor = rules.filter(({ message }) => !/^[^\n]+[:.] \S[^\n]+$/.test(message));
  assert.deepEqual(
    poor.map(({ message, path }) => `${path}: ${message}`),
    [],
  );
});

test("defaults are admitted by their own fields", () => {
  for (const { path, schema } of all) {
    if (schema.default === undefined) continue;
    assert.deepEqual(problemsOf(schema, withDefaults(schema, schema.default)), [], path);
  }
});

/** The fields that a sample sets, without the indexes of lists and the keys of maps. */
const covered = (kind: string): Set<string> => {
  const schema = kinds.find((one) => one.kind === kind)?.spec.schema ?? {};
  const own = Object.values(samples).filter((sample: Sample) => sample.kind === kind);
  const paths = own.flatMap((sample) =>
    [...fieldsOf(schema, sample.spec, ["spec"])].map(({ schema: one }) => one),
  );
  return new Set(
    [...places(schema, "spec")]
      .filter(({ schema: one }) => paths.includes(one))
      .map(({ path }) => path),
  );
};

test("the samples set every field of every spec between them", () => {
  for (const { kind, spec } of kinds) {
    const seen = covered(kind);
    none(
      [...places(spec.schema, "spec")].filter(({ path }) => !seen.has(path)),
      kind,
    );
  }
});

test("columns, selectable fields and the scale subresource are where fields are", () => {
  for (const kind of kinds) {
    const known = new Set([...places(schemaOf(kind), "")].map(({ path }) => path));
    const { scale } = kind;
    const paths = [
      ...kind.columns.map(({ jsonPath }) => jsonPath.replace(/\[[^\]]*\]/g, "[]")),
      ...kind.selectableFields,
      ...(scale === undefined ? [] : Object.values(scale)),
    ].filter((path) => path !== ".metadata.creationTimestamp");
    assert.deepEqual(
      paths.filter((path) => !known.has(path)),
      [],
      kind.kind,
    );
  }
  assert.deepEqual(
    kinds.filter(({ scale }) => scale !== undefined).map(({ kind }) => kind),
    ["BrokerPool"],
  );
});

test("every kind has the conditions that kstatus reads, and no more than fit", () => {
  for (const [kind, table] of Object.entries(conditions)) {
    const types = Object.keys(table);
    for (const type of ["Ready", "Reconciling", "Stalled", "Quiesced", "Stable"]) {
      assert.ok(types.includes(type), `${kind}: ${type}`);
    }
    const list = kinds.find((one) => one.kind === kind)?.status.schema.properties?.["conditions"];
    assert.ok(types.length <= (list?.maxItems ?? 0), kind);
    const properties = list?.items?.properties ?? {};
    for (const [type, { reasons }] of Object.entries(table)) {
      const [typePattern, reasonPattern] = [properties["type"], properties["reason"]];
      assert.match(type, new RegExp(typePattern?.pattern ?? "^$"));
      for (const reason of Object.keys(reasons)) {
        assert.match(reason, new RegExp(reasonPattern?.pattern ?? "^$"));
      }
    }
  }
});

test("names: short ones, and the categories", () => {
  const names = kinds.map((kind) => customResourceDefinition(kind).spec["names"]);
  assert.deepEqual(
    names.map((one) => (one as { shortNames: string[] }).shortNames.join()),
    ["mrc", "mrp", "mrb", "mrt", "mrr"],
  );
});

test("the examples are admitted", () => {
  const files = ["small-cluster", "production-cluster", "topics", "rebalance"];
  const seen = new Set<string>();
  for (const file of files) {
    for (const document of parseAllDocuments(read(`examples/kubernetes/${file}.yaml`))) {
      const object = document.toJS() as Sample;
      const kind = kinds.find((one) => one.kind === object.kind);
      assert.ok(kind !== undefined, file);
      assert.deepEqual(problemsOf(schemaOf(kind), object), [], `${file}: ${object.metadata.name}`);
      seen.add(object.kind);
    }
  }
  assert.deepEqual([...seen].sort(), ["BrokerPool", "Cluster", "Rebalance", "Topic"]);
});

test("an empty Cluster is a whole one", () => {
  const cluster = kinds.find(({ kind }) => kind === "Cluster");
  assert.ok(cluster !== undefined);
  const spec = withDefaults(cluster.spec.schema, {}) as Cluster["spec"];
  const template = { terminationGracePeriodSeconds: 120 };
  const expected: Cluster["spec"] = {
    imagePullPolicy: "IfNotPresent",
    controllers: { replicas: 3, template },
    coordinators: { replicas: 3, template },
    brokers: {},
    etcd: { managed: { replicas: 3, storage: { size: "8Gi" }, template } },
    listeners: [{ name: "clients", type: "Internal", port: 7400 }],
    rollout: { maxUnavailablePerRack: 1, pauseSeconds: 0, unsafePartitions: "Block" },
    autoRebalance: { onScaleUp: "Disabled", movesPerBroker: 5 },
    paused: false,
  };
  assert.deepEqual(spec, expected);
});

test("defaults of the other kinds keep what is there", () => {
  const filled = (kind: string, spec: Record<string, unknown>): unknown =>
    withDefaults(kinds.find((one) => one.kind === kind)?.spec.schema ?? {}, spec);
  assert.deepEqual(filled("Topic", {}), {
    ...{ partitions: 1, deletionPolicy: "Retain", adopt: "IfMatches" },
  });
  assert.deepEqual(filled("Rebalance", {}), {
    ...{ movesPerBroker: 5, approval: "Manual", approved: false, paused: false, aborted: false },
  });
  assert.deepEqual(filled("BrokerPool", { storage: { size: "1Gi" } }), {
    ...{ replicas: 3, storage: { size: "1Gi", whenScaledDown: "Retain" }, cordoned: false },
    template: { terminationGracePeriodSeconds: 120 },
  });
  assert.deepEqual(filled("Broker", {}), { intent: "Active" });
});

test("places are told by their paths", () => {
  assert.equal(pathText(["spec", "listeners", 0, "port"]), "spec.listeners[0].port");
});

/** The kinds at a real API server, which has the last word on schemas and rules. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { customResourceDefinition, group, kinds, schemaOf, version } from "@millrace/operator";
import { parseAllDocuments } from "yaml";
import { withDefaults } from "../../operator/src/api/testing/admission.ts";
import { badRules, goodChanges } from "../../operator/src/api/testing/bad-rules.ts";
import { badValues, type Refused, withValue } from "../../operator/src/api/testing/bad-values.ts";
import { type Sample, samples } from "../../operator/src/api/testing/samples.ts";
import type { ApiServer } from "../../tools/k8s/control-plane.ts";
import { ApiClient, apiServerIn, eventually, skipped } from "./api-client.ts";

const options = { skip: skipped, timeout: 300_000 };
const directory = mkdtempSync(join(tmpdir(), "millrace-kinds-"));
const root = fileURLToPath(new URL("../../", import.meta.url));
const definitionsPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

let server: ApiServer | undefined;
let api: ApiClient;

const pathOf = (kind: string, name = "", query = ""): string => {
  const plural = kinds.find((one) => one.kind === kind)?.plural ?? "unknown";
  const at = `/apis/${group}/${version}/namespaces/default/${plural}`;
  return `${at}${name === "" ? "" : `/${name}`}${query}`;
};

const strict = "?fieldValidation=Strict";
const dry = `${strict}&dryRun=All`;

const isEstablished = async (name: string): Promise<true | undefined> => {
  const { body } = await api.send("GET", `${definitionsPath}/${name}`);
  const { conditions = [] } = (body["status"] ?? {}) as {
    conditions?: readonly { type: string; status: string }[];
  };
  return conditions.some(({ type, status }) => type === "Established" && status === "True")
    ? true
    : undefined;
};

before(async () => {
  if (skipped !== false) return;
  server = await apiServerIn(directory);
  api = new ApiClient(server);
  for (const kind of kinds) {
    const definition = customResourceDefinition(kind);
    const { message, status } = await api.send("POST", definitionsPath, definition);
    assert.equal(status, 201, message);
  }
  for (const { kind, plural } of kinds) {
    await eventually(`${kind} established`, () => isEstablished(`${plural}.${group}`));
    await eventually(`${kind} served`, async () =>
      (await api.send("GET", pathOf(kind))).status === 200 ? true : undefined,
    );
  }
  await eventually("the default namespace", async () =>
    (await api.send("GET", "/api/v1/namespaces/default")).status === 200 ? true : undefined,
  );
}, options);

after(async () => {
  api?.close();
  await server?.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** Stores an object for a moment. */
const withStored = async <T>(object: Sample, work: (stored: Sample) => Promise<T>): Promise<T> => {
  const { body, message, status } = await api.send("POST", pathOf(object.kind, "", strict), object);
  assert.equal(status, 201, message);
  try {
    return await work(body as unknown as Sample);
  } finally {
    await api.send("DELETE", pathOf(object.kind, object.metadata.name));
  }
};

/** The answer to an object, or to a change of one; nothing is kept. */
const answerTo = ({ before: old, object }: Pick<Refused, "before" | "object">) => {
  const { kind, metadata } = object;
  if (old === undefined || old.metadata.name !== metadata.name) {
    return api.send("POST", pathOf(kind, "", dry), object);
  }
  return withStored(old, (stored) => {
    const { resourceVersion } = stored.metadata as { resourceVersion?: string };
    const change = { ...object, metadata: { ...metadata, resourceVersion } };
    return api.send("PUT", pathOf(kind, metadata.name, dry), change);
  });
};

/** Why a row is not refused as it should be. */
const missed = async (row: Refused): Promise<string | undefined> => {
  const { message, status } = await answerTo(row);
  const isRefused = status === 422 || status === 400;
  return isRefused && message.includes(row.at) && message.includes(row.says ?? "")
    ? undefined
    : `${row.name}: ${status} ${message.slice(0, 300)}`;
};

const allMissed = async (rows: readonly Refused[]): Promise<string[]> => {
  const found: string[] = [];
  for (const row of rows) {
    const one = await missed(row);
    if (one !== undefined) found.push(one);
  }
  return found;
};

test("every sample is admitted", options, async () => {
  for (const object of Object.values(samples)) {
    const { message, status } = await answerTo({ object });
    assert.equal(status, 201, message);
  }
});

test("every field out of its bounds is refused", options, async () => {
  const rows = Object.values(samples).flatMap((sample) => {
    const spec = kinds.find(({ kind }) => kind === sample.kind)?.spec.schema;
    return badValues(spec ?? {}, sample);
  });
  assert.deepEqual(await allMissed(rows), []);
});

test("what rules forbid is refused, with their message", options, async () => {
  assert.deepEqual(await allMissed(badRules), []);
});

test("changes that are meant to be possible are admitted", options, async () => {
  for (const change of goodChanges) {
    const { message, status } = await answerTo(change);
    assert.ok(status === 200 || status === 201, `${change.name}: ${message}`);
  }
});

test("the examples are admitted, as a trial and for good", options, async () => {
  for (const name of ["small-cluster", "production-cluster", "topics", "rebalance"]) {
    const file = `${root}examples/kubernetes/${name}.yaml`;
    await api.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", file);
    await api.kubectl("apply", "--server-side", "--validate=strict", "-f", file);
    for (const document of parseAllDocuments(readFileSync(file, "utf8"))) {
      const { kind, metadata } = document.toJS() as Sample;
      assert.equal((await api.send("GET", pathOf(kind, metadata.name))).status, 200);
    }
    await api.kubectl("delete", "-f", file);
  }
});

test("an unknown field is dropped with a warning where nobody asks for more", options, async () => {
  const object = withValue(samples.topic as Sample, ["spec", "nobodyReads"], true);
  const { body, status, warnings } = await api.send(
    "POST",
    pathOf("Topic", "", "?dryRun=All"),
    object,
  );
  assert.equal(status, 201);
  assert.equal(Object.hasOwn(body["spec"] as object, "nobodyReads"), false);
  assert.match(warnings.join(), /unknown field .*nobodyReads/);
});

test("defaults are filled in, nested ones too", options, async () => {
  const { apiVersion } = samples.cluster;
  const empty = { apiVersion, kind: "Cluster", metadata: { name: "empty" }, spec: {} };
  const { body, message, status } = await api.send("POST", pathOf("Cluster", "", dry), empty);
  assert.equal(status, 201, message);
  const schema = kinds.find(({ kind }) => kind === "Cluster")?.spec.schema ?? {};
  assert.deepEqual(body["spec"], withDefaults(schema, {}));
});

test("kubectl scale changes a pool, and autoscalers see its brokers", options, async () => {
  await withStored(samples.pool, async () => {
    const status = { replicas: 3, labelSelector: "millrace.dev/pool=ssd" };
    const path = pathOf("BrokerPool", "ssd/status");
    const put = await api.send("PATCH", path, { status }, "merge-patch+json");
    assert.equal(put.status, 200, put.message);
    await api.kubectl("scale", "brokerpools.millrace.dev/ssd", "--replicas=5");
    const { body } = await api.send("GET", pathOf("BrokerPool", "ssd/scale"));
    assert.deepEqual(body["spec"], { replicas: 5 });
    assert.deepEqual(body["status"], { replicas: 3, selector: "millrace.dev/pool=ssd" });
    await assert.rejects(api.kubectl("scale", "mrp/ssd", "--replicas=1001"));
  });
});

test("a status is written apart from the spec, and within its bounds", options, async () => {
  await withStored(samples.topic, async () => {
    const condition = {
      ...{ type: "Ready", status: "True", observedGeneration: 1, reason: "AsSpecified" },
      ...{ message: "", lastTransitionTime: "2026-01-01T00:00:00Z" },
    };
    const path = pathOf("Topic", "orders/status");
    const write = (status: unknown) => api.send("PATCH", path, { status }, "merge-patch+json");
    const good = await write({ observedGeneration: 1, conditions: [condition] });
    assert.equal(good.status, 200, good.message);
    assert.equal((await write({ conditions: [condition, condition] })).status, 422);
    assert.equal((await write({ conditions: [{ ...condition, status: "Maybe" }] })).status, 422);
    const spec = { spec: { partitions: 7 }, status: { observedGeneration: 9 } };
    const put = await api.send("PATCH", pathOf("Topic", "orders"), spec, "merge-patch+json");
    assert.equal((put.body["status"] as { observedGeneration: number }).observedGeneration, 1);
    assert.equal((put.body["metadata"] as { generation?: number }).generation, 2);
  });
});

test("objects are selected by their cluster", options, async () => {
  await withStored(samples.topic, async () => {
    const found = async (name: string) => {
      const query = `?fieldSelector=${encodeURIComponent(`spec.clusterRef.name=${name}`)}`;
      return ((await api.send("GET", pathOf("Topic", "", query))).body["items"] as unknown[])
        .length;
    };
    assert.deepEqual([await found("events"), await found("other")], [1, 0]);
  });
});

test("kubectl get has the columns of every kind", options, async () => {
  for (const sample of [
    samples.cluster,
    samples.pool,
    samples.broker,
    samples.topic,
    samples.rebalance,
  ]) {
    const kind = kinds.find((one) => one.kind === sample.kind);
    assert.ok(kind !== undefined);
    await withStored(sample, async () => {
      const [head = ""] = (await api.kubectl("get", kind.shortName, "-o", "wide")).split("\n");
      const columns = ["NAME", ...kind.columns.map(({ name }) => name.toUpperCase())];
      assert.deepEqual(head.trim().split(/\s+/), columns, kind.kind);
    });
  }
});

test("kubectl explain says what every field is", options, async () => {
  for (const kind of kinds) {
    const of = (path: string) =>
      api.kubectl("explain", `${kind.plural}${path}`, "--api-version", `${group}/${version}`);
    const text = await eventually(`${kind.kind} explained`, () => of("").catch(() => undefined));
    const plain = text.replace(/\s+/g, " ");
    assert.ok(plain.includes(schemaOf(kind).description ?? "?"), text);
    const spec = (await of(".spec")).replace(/\s+/g, " ");
    for (const [name, { description = "?" }] of Object.entries(kind.spec.schema.properties ?? {})) {
      assert.ok(spec.includes(name), `${kind.kind}: ${name}`);
      assert.ok(spec.includes(description), `${kind.kind}: ${name}: ${description}`);
    }
  }
});

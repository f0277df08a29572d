/** The API server of the tests does what a real one is documented to do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { simulated, type Thing, thing, thingKey, thingType } from "../simulated.ts";
import { fieldsOf, objectOf } from "./fields.ts";

const refused = (status: number) => (error: unknown) =>
  (error as { status?: number }).status === status;
const key = thingKey("a");

test("versions rise with changes alone, generations with those of the spec", () => {
  const { server } = simulated();
  const made = server.create(thingType, thing("a"));
  assert.equal(made.metadata.generation, 1);
  const same = server.replace(thingType, made);
  assert.equal(same.metadata.resourceVersion, made.metadata.resourceVersion);
  const labels = { a: "b" };
  const labelled = server.replace(thingType, { ...made, metadata: { ...made.metadata, labels } });
  assert.notEqual(labelled.metadata.resourceVersion, made.metadata.resourceVersion);
  assert.equal(labelled.metadata.generation, 1);
  const changed = server.replace(thingType, { ...labelled, spec: { size: 2 } });
  assert.equal(changed.metadata.generation, 2);
  assert.throws(() => server.replace(thingType, made), refused(409));
  assert.throws(() => server.create(thingType, thing("a")), refused(409));
});

test("a status is written through its subresource alone", () => {
  const { server } = simulated();
  const by = { fieldManager: "m", force: false };
  server.create(thingType, { ...thing("a"), status: { phase: "X" } });
  assert.equal(server.get(thingType, key)?.status, undefined);
  const status = { ...thing("a", 9), status: { phase: "Done" } };
  server.applyStatus(thingType, status, by);
  const found = server.get(thingType, key) as Thing;
  assert.deepEqual(
    [found.spec.size, found.status, found.metadata.generation],
    [1, { phase: "Done" }, 1],
  );
  server.apply(thingType, { ...thing("a"), status: { phase: "Y" } }, by);
  assert.deepEqual(server.get(thingType, key)?.status, { phase: "Done" });
  assert.throws(() => server.applyStatus(thingType, thing("b"), by), refused(404));
});

test("fields have managers: a conflict without force, a take-over with it, removal of what is left out", () => {
  const { server } = simulated();
  const one = { fieldManager: "one", force: false };
  const two = { fieldManager: "two", force: false };
  const colors = (all: Record<string, string>): Thing => ({
    ...thing("a"),
    spec: { size: 1, colors: all },
  });
  const spec = (): unknown => server.get(thingType, key)?.spec.colors;
  server.apply(thingType, colors({ a: "red", b: "blue" }), one);
  assert.throws(() => server.apply(thingType, colors({ a: "green" }), two), refused(409));
  server.apply(thingType, colors({ a: "red" }), two);
  server.apply(thingType, colors({ b: "blue" }), one);
  assert.deepEqual(spec(), { a: "red", b: "blue" }, "the other manager still wants a");
  server.apply(thingType, colors({ b: "black", c: "c" }), { ...two, force: true });
  assert.deepEqual(spec(), { b: "black", c: "c" });
  server.apply(thingType, colors({}), one);
  assert.deepEqual(spec(), { b: "black", c: "c" }, "b is two's now");
});

test("finalizers hold up a deletion, none is added meanwhile, and the last one ends it", () => {
  const { server } = simulated();
  server.create(thingType, thing("a", 1, { finalizers: ["x"] }));
  assert.throws(() => server.delete(thingType, key, { uid: "other" }), refused(409));
  assert.equal(server.delete(thingType, key, {}), true);
  const dying = server.get(thingType, key) as Thing;
  assert.ok(dying.metadata.deletionTimestamp !== undefined);
  const more = { ...dying, metadata: { ...dying.metadata, finalizers: ["x", "y"] } };
  assert.throws(() => server.replace(thingType, more), refused(422));
  server.replace(thingType, { ...dying, metadata: { ...dying.metadata, finalizers: [] } });
  assert.equal(server.get(thingType, key), undefined);
  assert.equal(server.delete(thingType, key, {}), false);
});

test("what has lost its owners goes, also when it comes after they went", async () => {
  const { server, pass } = simulated();
  const owner = server.create(thingType, thing("o"));
  const reference = { apiVersion: "v1", kind: "Thing", name: "o", uid: owner.metadata.uid ?? "" };
  server.create(thingType, thing("a", 1, { ownerReferences: [reference] }));
  await pass(100);
  assert.ok(server.get(thingType, key));
  server.delete(thingType, thingKey("o"), {});
  await pass(100);
  assert.equal(server.get(thingType, key), undefined);
  server.create(thingType, thing("a", 1, { ownerReferences: [reference] }));
  await pass(100);
  assert.equal(server.get(thingType, key), undefined);
});

test("an apply by uid makes no other object", () => {
  const { server } = simulated();
  const by = { fieldManager: "m", force: true };
  assert.throws(() => server.apply(thingType, thing("a", 1, { uid: "gone" }), by), refused(409));
});

test("pages are of one moment, and expire", () => {
  const { server } = simulated();
  for (const name of ["a", "b", "c"]) server.create(thingType, thing(name));
  const { continueToken, resourceVersion } = server.list(thingType, { limit: 2 });
  server.delete(thingType, thingKey("c"), {});
  const rest = server.list(thingType, { limit: 2, continueToken });
  assert.deepEqual(
    rest.items.map(({ metadata }) => metadata.name),
    ["c"],
  );
  assert.equal(rest.resourceVersion, resourceVersion);
  server.compact();
  assert.throws(() => server.list(thingType, { limit: 2, continueToken }), refused(410));
  assert.throws(() => server.since(thingType, resourceVersion), refused(410));
});

test("objects are their fields", () => {
  const object = {
    ...{ a: { b: [], c: {}, d: [1, { e: 2 }], f: null } },
    metadata: { name: "x", finalizers: ["p", "q"] },
    status: { conditions: [{ type: "A", status: "True" }, { type: "B" }] },
  };
  assert.deepEqual(objectOf(fieldsOf(object)), object);
});

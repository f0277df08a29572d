import assert from "node:assert/strict";
import { test } from "node:test";
import { Applier, appliedAnnotation } from "./apply.ts";
import { isConflict } from "./errors.ts";
import { ensureFinalizer, hasFinalizer, removeFinalizer } from "./finalizers.ts";
import { frozen, hashOf, includes, isEqual } from "./json.ts";
import { simulated, type Thing, thing, thingKey, thingType } from "./testing/simulated.ts";

const setUp = () => {
  const world = simulated();
  const { api } = world.process("operator");
  const applier = new Applier({ fieldManager: "operator" });
  const { server, kernel } = world;
  const observed = (name = "a"): Thing | undefined => server.get(thingType, thingKey(name));
  const apply = (wanted: Thing, by = applier): Promise<Thing> =>
    kernel.run(by.apply(api, thingType, wanted, observed(wanted.metadata.name)));
  const say = (status: Record<string, unknown>, by = applier): Promise<Thing> =>
    kernel.run(by.applyStatus(api, thingType, observed() ?? thing("a"), () => status));
  const written = (): number =>
    server.writes.splice(0).filter(({ manager }) => manager !== "user").length;
  return { ...world, api, applier, observed, apply, say, written };
};

const colored = (colors: Record<string, string>): Thing => ({
  ...thing("a"),
  spec: { size: 1, colors },
});

test("what is as it is wanted is not written, by whomever it was made so", async () => {
  const { apply, written } = setUp();
  await apply(thing("a"));
  assert.equal(written(), 1);
  await apply(thing("a"));
  // A process that has begun anew remembers nothing.
  await apply(thing("a"), new Applier({ fieldManager: "operator" }));
  assert.equal(written(), 0);
});

test("drift is put right, what others have added stays, and what is wanted no more goes", async () => {
  const { apply, written, observed, server } = setUp();
  await apply(colored({ a: "red", b: "blue" }));
  const found = observed() as Thing;
  const metadata = { ...found.metadata, labels: { theirs: "stays" } };
  server.replace(thingType, {
    ...found,
    metadata,
    spec: { size: 1, colors: { a: "green", b: "blue", c: "c" } },
  });
  written();
  await apply(colored({ a: "red", b: "blue" }));
  assert.equal(written(), 1);
  assert.deepEqual(observed()?.spec.colors, { a: "red", b: "blue", c: "c" });
  await apply(colored({ b: "blue" }));
  assert.equal(written(), 1);
  assert.deepEqual(observed()?.spec.colors, { b: "blue", c: "c" });
  assert.deepEqual(observed()?.metadata.labels, { theirs: "stays" });
  assert.equal(observed()?.metadata.annotations?.[appliedAnnotation]?.length, 16);
});

test("a value that the server writes in its own way is applied once, not for ever", async () => {
  const { apply, written, api, server } = setUp();
  const plain = api.apply.bind(api);
  api.apply = async (type, object, options) => {
    await plain(type, object, options);
    const found = server.get(thingType, thingKey("a")) as Thing;
    return server.replace(thingType, { ...found, spec: { size: 1000 } }) as never;
  };
  await apply(thing("a"));
  assert.equal(written(), 1);
  await apply(thing("a"));
  assert.equal(written(), 0);
});

test("a status is written where it changes, and as a whole", async () => {
  const { apply, say, written, observed } = setUp();
  await apply(thing("a"));
  written();
  await say({ phase: "Making", left: 2 });
  await say({ left: 2, phase: "Making" });
  assert.equal(written(), 1);
  await say({ phase: "Done" });
  assert.deepEqual(observed()?.status, { phase: "Done" });
  assert.equal(observed()?.metadata.generation, 1);
});

test("the status of another object of that name is left alone", async () => {
  const { server, kernel, api, applier, apply, observed } = setUp();
  await apply(thing("a"));
  const before = observed() as Thing;
  server.delete(thingType, thingKey("a"), {});
  const say = (): Promise<Thing> =>
    kernel.run(applier.applyStatus(api, thingType, before, () => ({ phase: "Done" })));
  await say();
  server.create(thingType, thing("a"));
  await say();
  // Deleted and made anew after it was read.
  api.get = () => Promise.resolve(before as never);
  await assert.rejects(say(), isConflict);
  assert.equal(observed()?.status, undefined);
});

test("a status is judged by the server's object: a cache may be behind", async () => {
  const { kernel, api, applier, apply, observed, written } = setUp();
  await apply(thing("a"));
  const behind = observed() as Thing;
  let times = 0;
  const statusOf = ({ status }: Thing): Record<string, unknown> => {
    times += 1;
    return status ?? { since: times };
  };
  const say = () => kernel.run(applier.applyStatus(api, thingType, behind, statusOf));
  await say();
  written();
  await say();
  assert.equal(written(), 0);
  assert.deepEqual(observed()?.status, { since: 2 });
});

test("what is remembered has a bound", async () => {
  const { api, server, apply, written } = setUp();
  const plain = api.apply.bind(api);
  // A server that keeps another value than it was given.
  api.apply = async (type, object, options) => {
    const { metadata } = await plain(type, object, options);
    const found = server.get(thingType, thingKey(metadata.name)) as Thing;
    return server.replace(thingType, { ...found, spec: { size: 1000 } }) as never;
  };
  const applier = new Applier({ fieldManager: "operator", rememberedMax: 1 });
  await apply(thing("a"), applier);
  await apply(thing("a"), applier);
  assert.equal(written(), 1);
  await apply(thing("b"), applier);
  await apply(thing("a"), applier);
  assert.equal(written(), 2);
});

test("a finalizer is set once, removed once, and never set on what is being deleted", async () => {
  const { server, kernel, api, observed, written } = setUp();
  server.create(thingType, thing("a", 1, { finalizers: ["other"] }));
  const ensure = (object: Thing) => kernel.run(ensureFinalizer(api, thingType, object, "mine"));
  const remove = (object: Thing) => kernel.run(removeFinalizer(api, thingType, object, "mine"));
  const before = observed() as Thing;
  const with2 = await ensure(before);
  assert.equal(hasFinalizer(with2, "mine"), true);
  assert.equal(await ensureFinalizer(api, thingType, with2, "mine"), with2);
  assert.equal(written(), 1);
  await assert.rejects(ensure(before), isConflict);
  server.delete(thingType, thingKey("a"), {});
  const dying = observed() as Thing;
  await remove(dying);
  assert.deepEqual(observed()?.metadata.finalizers, ["other"]);
  const others = observed() as Thing;
  written();
  assert.equal(await ensure(others), others);
  await removeFinalizer(api, thingType, others, "mine");
  assert.equal(written(), 0);
  server.replace(thingType, { ...others, metadata: { ...others.metadata, finalizers: [] } });
  assert.equal(observed(), undefined);
  await remove(dying);
});

test("values are compared whatever the order of their keys", () => {
  assert.equal(isEqual({ a: 1, b: [1, 2] }, { b: [1, 2], a: 1 }), true);
  assert.equal(isEqual({ b: [1, 2] }, { b: [2, 1] }), false);
  assert.equal(hashOf({ a: 1, b: 2 }), hashOf({ b: 2, a: 1 }));
  const hashes = new Set(Array.from({ length: 20_000 }, (_, i) => hashOf({ size: i })));
  assert.equal(hashes.size, 20_000);
  assert.throws(() => {
    frozen({ a: { b: 1 } }).a.b = 2;
  });
});

test("what includes what", () => {
  const actual = {
    ...{ a: 1, list: [1, 2], defaulted: "yes" },
    named: [{ name: "injected" }, { name: "x", image: "i", policy: "Always" }],
  };
  assert.equal(includes(actual, { a: 1, named: [{ name: "x", image: "i" }] }), true);
  assert.equal(includes(actual, { a: 1, b: undefined }), true);
  for (const wanted of [
    { a: 2 },
    { b: 1 },
    { list: [1] },
    { list: [2, 1] },
    { named: [{ name: "x", image: "j" }] },
    { named: [{ name: "y" }] },
    { a: { b: 1 } },
    { list: { 0: 1 } },
  ]) {
    assert.equal(includes(actual, wanted), false, JSON.stringify(wanted));
  }
});

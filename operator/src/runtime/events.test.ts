import assert from "node:assert/strict";
import { test } from "node:test";
import { type EventOptions, EventRecorder, eventType, type Occurrence } from "./events.ts";
import { noRuntimeMetrics } from "./metrics.ts";
import { simulated, thing, thingType } from "./testing/simulated.ts";

const made: Occurrence = { type: "Normal", reason: "Made", action: "Make", note: "It is made." };

const setUp = (options: Partial<EventOptions> = {}) => {
  const world = simulated();
  let dropped = 0;
  const metrics = {
    ...noRuntimeMetrics,
    onEventDropped: () => {
      dropped += 1;
    },
  };
  const { api, clock, logger } = world.process("operator");
  const begin = () =>
    new EventRecorder({
      ...{ api, clock, logger, metrics, controller: "millrace.dev/test", instance: "i" },
      ...options,
    });
  const object = world.server.create(thingType, thing("a"));
  const events = () => world.server.list(eventType, {}).items;
  return { ...world, begin, object, events, dropped: () => dropped };
};

test("the same thing again is counted, not written again, and written now and then", async () => {
  const { begin, object, events, pass, server } = setUp();
  const recorder = begin();
  for (let i = 0; i < 5; i += 1) void recorder.emit(object, made);
  await pass(1000);
  const [event] = events();
  assert.equal(event?.series, undefined);
  assert.equal(event?.note, "It is made.");
  assert.equal(event?.regarding["uid"], object.metadata.uid);
  assert.match(event?.eventTime ?? "", /\.\d{6}Z$/);
  const before = server.writes.length;
  await pass(60_000);
  void recorder.emit(object, made);
  await pass(1000);
  assert.equal(events().length, 1);
  assert.equal(events()[0]?.series?.count, 6);
  assert.equal(server.writes.length, before + 1);
});

test("a process that has begun anew goes on with the count", async () => {
  const { begin, object, events, kernel } = setUp();
  await kernel.run(begin().emit(object, made));
  await kernel.run(begin().emit(object, { ...made, note: "It is made again." }));
  assert.equal(events().length, 1);
  assert.equal(events()[0]?.series?.count, 2);
  assert.equal(events()[0]?.note, "It is made.");
});

test("other reasons, types and objects are other events", async () => {
  const { begin, object, events, kernel, server } = setUp();
  const other = server.create(thingType, thing("b"));
  const recorder = begin();
  await kernel.run(recorder.emit(object, made));
  await kernel.run(recorder.emit(object, { ...made, reason: "Lost" }));
  await kernel.run(recorder.emit(object, { ...made, type: "Warning" }));
  await kernel.run(recorder.emit(other, made));
  assert.equal(events().length, 4);
});

test("there are at most so many in a while, and what was dropped is told with the next", async () => {
  const { begin, object, events, pass, dropped } = setUp({ rate: { perSecond: 1, burst: 2 } });
  const recorder = begin();
  for (const reason of ["A", "B", "C"]) void recorder.emit(object, { ...made, reason });
  await pass(1000);
  assert.deepEqual([events().length, dropped()], [2, 1]);
  void recorder.emit(object, { ...made, reason: "C" });
  await pass(1000);
  assert.equal(events().find(({ reason }) => reason === "C")?.series?.count, 2);
});

test("writes that wait have a bound, and what is remembered as well", async () => {
  const { begin, object, pass, dropped, events, kernel } = setUp({
    pendingMax: 2,
    rememberedMax: 2,
  });
  const recorder = begin();
  for (const reason of ["A", "B", "C"]) void recorder.emit(object, { ...made, reason });
  await pass(1000);
  assert.equal(dropped(), 1);
  // A was forgotten: it is no repetition, and the event that is there goes on counting.
  await kernel.run(recorder.emit(object, { ...made, reason: "A" }));
  assert.equal(events().find(({ reason }) => reason === "A")?.series?.count, 2);
});

test("a server that refuses holds nothing up, and is told later", async () => {
  const { begin, object, events, kernel, fail, dropped } = setUp();
  const recorder = begin();
  fail({ refuse: 1 });
  await kernel.run(recorder.emit(object, made));
  assert.equal(dropped(), 1);
  fail({});
  await kernel.run(recorder.emit(object, made));
  assert.equal(events()[0]?.series?.count, 2);
});

test("a note is as long as the server takes, in bytes, and ends with a character", async () => {
  const { begin, object, events, kernel } = setUp();
  await kernel.run(begin().emit(object, { ...made, note: "ü".repeat(1000) }));
  const note = events()[0]?.note ?? "";
  assert.ok(Buffer.byteLength(note) <= 1024 && note.length > 500);
  assert.equal(note.replaceAll("ü", ""), "");
});

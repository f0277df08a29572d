import assert from "node:assert/strict";
import { test } from "node:test";
import { check, type FinalLog } from "./checker.ts";
import { contentOf, type Event, type Happening, nameOf } from "./history.ts";

/** A history with a millisecond between events. */
const at = (...happenings: Happening[]): Event[] => happenings.map((one, t) => ({ t, ...one }));
const send = (value: string, partition = 0): Happening => {
  const [producer = 0, number = 0] = value.split("-").map(Number);
  return { kind: "send", value, producer, number, partition };
};
const ack = (value: string, offset: number): Happening => ({
  ...{ kind: "ack", value, partition: 0, offset },
});
const read = (value: string, offset: number): Happening => ({
  ...{ kind: "read", value, partition: 0, offset },
});
/** The log of partition 0. */
const log = (...values: string[]): FinalLog => new Map([[0, new Map(values.entries())]]);

const judge = (events: readonly Event[], found: FinalLog) => {
  const { duplicated, lost, violations } = check(events, found);
  return { lost, duplicated, texts: violations.map(({ text }) => text) };
};
const clean = { lost: 0, duplicated: 0, texts: [] };

test("a log that holds everything passes, also with a value whose send failed", () => {
  const failed = { kind: "fail", value: "1-1", partition: 0, code: "TIMEOUT" } as const;
  const events = at(send("1-0"), send("1-1"), ack("1-0", 0), read("1-0", 0), failed);
  assert.deepEqual(judge(events, log("1-0", "1-1")), clean);
  assert.deepEqual(judge(events, log("1-0")), clean);
});

test("an acknowledged value that is gone, or elsewhere, is lost", () => {
  const events = at(send("1-0"), send("1-1"), ack("1-0", 0), ack("1-1", 1));
  const texts = ["1-1 was acknowledged at 0@1, where nothing is"];
  assert.deepEqual(judge(events, log("1-0")), { lost: 1, duplicated: 0, texts });
  assert.equal(judge(events, log("1-1", "1-0")).lost, 2);
});

test("a value that was read stays, although nobody acknowledged it", () => {
  const events = at(send("1-0"), send("1-1"), read("1-0", 0), read("1-1", 1));
  const texts = ["1-1 was read at 0@1, where nothing is"];
  assert.deepEqual(judge(events, log("1-0")), { lost: 0, duplicated: 0, texts });
});

test("values of a producer are in the order of its sends", () => {
  const events = at(send("1-0"), send("1-1"), ack("1-1", 0), ack("1-0", 1));
  const texts = ["1-1 is at 0@0, before 1-0 at 1, its elder"];
  assert.deepEqual(judge(events, log("1-1", "1-0")), { lost: 0, duplicated: 0, texts });
});

test("a value that was sent after an acknowledgement is behind it, whoever sent them", () => {
  const events = at(send("1-0"), ack("1-0", 1), send("2-0"), ack("2-0", 0));
  const texts = ["2-0 is at 0@0, before 1-0 at 1, acknowledged before it was sent"];
  assert.deepEqual(judge(events, log("2-0", "1-0")), { lost: 0, duplicated: 0, texts });
  const concurrent = at(send("1-0"), send("2-0"), ack("1-0", 1), ack("2-0", 0));
  assert.deepEqual(judge(concurrent, log("2-0", "1-0")), clean);
});

test("a consumer that skips or repeats is told", () => {
  const events = at(send("1-0"), send("1-1"), read("1-1", 1), read("1-1", 1));
  const { texts } = judge(events, log("1-0", "1-1"));
  assert.deepEqual(texts, [
    "the consumer got 0@1 where 0 came next",
    "the consumer got 0@1 where 2 came next",
  ]);
});

test("values that nobody sent, or to another partition, are phantoms", () => {
  const { texts } = judge(at(send("1-0", 1)), log("1-0", "junk"));
  assert.deepEqual(texts, [
    '0@0 holds "1-0", which was sent to 1',
    '0@1 holds "junk", which nobody sent',
  ]);
});

test("a log with a gap is told", () => {
  const found = new Map([[0, new Map([[1, "1-0"]])]]);
  assert.deepEqual(judge(at(send("1-0")), found).texts, ["the log goes on at 0@1 after -1"]);
});

test("a value that is there twice is told", () => {
  const { duplicated, texts } = judge(at(send("1-0"), ack("1-0", 1)), log("1-0", "1-0", "1-0"));
  assert.equal(duplicated, 1);
  assert.deepEqual(texts, ["1-0 is at 0@0, and again at 0@1", "1-0 is at 0@0, and again at 0@2"]);
});

test("a value has its name only while all its bytes are right", () => {
  assert.equal(nameOf(contentOf(2, 17)), "2-17");
  assert.equal(nameOf(`${contentOf(2, 17)}x`), `${contentOf(2, 17)}x`);
  assert.equal(nameOf("junk"), "junk");
});

/** Mutants of indexes of keys, of GetLatest, and of appends on the condition of a key: ADR 29. */
import type { Mutant } from "../mutant.ts";

const broker = "services/broker/src/";
const room = `${broker}latest/`;
const leader = `${broker}partitions/leader.ts`;
const sortedTests = [`${room}sorted-offsets.test.ts`];
const leafTests = [`${room}leaf.test.ts`];
const cacheTests = [`${room}record-cache.test.ts`];
const readerTests = [`${room}record-reader.test.ts`];
const offsetsTests = [`${room}latest-offsets.test.ts`];
const indexTests = [`${room}key-index.test.ts`];
const callTests = [`${broker}get-latest.test.ts`];
const socketTests = ["test/integration/latest-by-key.test.ts"];
const producer = "packages/client/src/core/producer/";
const clientTests = [`${producer}key-condition.test.ts`];

const ofTheIndex: readonly Mutant[] = [
  {
    name: "latest-older-record-wins",
    breaks: "A record that is read late does not take the place of a later one.",
    file: `${room}sorted-offsets.ts`,
    replace: [["offsetOf(leaf.valueAt(at)) < offset", "offsetOf(leaf.valueAt(at)) >= 0"]],
    tests: [...sortedTests, ...offsetsTests],
  },
  {
    name: "latest-tombstone-at-offset-zero",
    breaks: "A tombstone at offset 0 is one.",
    file: `${room}sorted-offsets.ts`,
    replace: [
      ["isTombstone ? -1 - offset : offset", "isTombstone ? -offset : offset"],
      ["place < 0 ? -1 - place : place", "place < 0 ? -place : place"],
    ],
    tests: sortedTests,
  },
  {
    name: "latest-split-loses-the-first-key",
    breaks: "A leaf that is split is found by all of its keys.",
    file: `${room}sorted-offsets.ts`,
    replace: [["right.keyAt(0)", "right.keyAt(1)"]],
    tests: sortedTests,
  },
  {
    name: "latest-memory-of-leaves-is-forgotten",
    breaks: "What leaves are counted with is what they take.",
    file: `${room}sorted-offsets.ts`,
    replace: [["- before + right.memoryBytes + low.length", "- before + right.memoryBytes"]],
    tests: sortedTests,
  },
  {
    name: "latest-leaf-skips-too-much",
    breaks: "A key is compared from the first byte on that may differ.",
    file: `${room}leaf.ts`,
    replace: [["Math.min(likeLow, likeHigh)", "Math.max(likeLow, likeHigh)"]],
    tests: leafTests,
  },
  {
    name: "latest-leaf-of-any-size",
    breaks: "An insertion moves no more than the bytes of a leaf.",
    file: `${room}leaf.ts`,
    replace: [["this.#used + key.length <= leafBytesMax", "key.length >= 0"]],
    tests: [...leafTests, ...sortedTests],
  },
  {
    name: "latest-leaf-keeps-its-memory",
    breaks: "Memory of keys that are gone is given back.",
    file: `${room}leaf.ts`,
    replace: [["used <= bytesMax / 4", "used < 0"]],
    tests: leafTests,
  },
  {
    name: "latest-record-keeps-its-batch",
    breaks: "An answer of many records keeps none of their batches in memory.",
    file: `${room}record-reader.ts`,
    replace: [["cursor.decodeCopy()", "cursor.decode()"]],
    tests: readerTests,
  },
  {
    name: "latest-batch-in-two-reads",
    breaks: "A log is asked for as many bytes as its batches are likely to have.",
    file: `${room}record-reader.ts`,
    replace: [["this.#likely.was(batch.storedBytes);", "this.#likely.was(1);"]],
    tests: readerTests,
  },
  {
    name: "latest-large-batch-is-the-rule",
    breaks: "After a very large batch, not as much is read for one record.",
    file: `${room}record-reader.ts`,
    replace: [["bytes <= likelyBytesMax ? bytes : 1", "bytes"]],
    tests: readerTests,
  },
  {
    name: "latest-cache-of-another-log",
    breaks: "A record that is remembered is of the log that is asked.",
    file: `${room}record-cache.ts`,
    replace: [["room.owners[slot] !== owner || room", "room"]],
    tests: cacheTests,
  },
  {
    name: "latest-cache-of-another-offset",
    breaks: "A record that is remembered is of the offset that is asked for.",
    file: `${room}record-cache.ts`,
    replace: [[" || room.offsets[slot] !== offset) return", ") return"]],
    tests: cacheTests,
  },
  {
    name: "latest-cache-written-over",
    breaks: "What other records were written over is not read.",
    file: `${room}record-cache.ts`,
    replace: [["if (address + this.#bytesMax < this.#next) return undefined;", ""]],
    tests: cacheTests,
  },
  {
    name: "latest-cache-shows-its-memory",
    breaks: "A record that was taken out does not change.",
    file: `${room}record-cache.ts`,
    replace: [
      [
        "new Uint8Array(room.ring.subarray(at, at",
        "Uint8Array.prototype.subarray.call(room.ring, at, at",
      ],
      ["(room.lengths[slot] ?? 0)));", "(room.lengths[slot] ?? 0));"],
    ],
    tests: cacheTests,
  },
  {
    name: "latest-cache-forgets-what-is-asked-for",
    breaks: "A record that is asked for again and again is not written over.",
    file: `${room}record-cache.ts`,
    replace: [["if (address + this.#bytesMax / 2 < this.#next)", "if (address < 0)"]],
    tests: cacheTests,
  },
  {
    name: "latest-cache-takes-large-records",
    breaks: "One record does not take the place of all others.",
    file: `${room}record-cache.ts`,
    replace: [["bytes.length <= this.#bytesMax * partMax", "bytes.length <= this.#bytesMax"]],
    tests: cacheTests,
  },
  {
    name: "latest-tombstone-in-memory",
    breaks: "Whether a tombstone is there still, the log is asked.",
    file: `${room}key-index.ts`,
    replace: [["if (record.value !== undefined) this.#context", "this.#context"]],
    tests: callTests,
  },
  {
    name: "latest-remembers-of-an-offline-log",
    breaks: "A log that is offline answers nothing.",
    file: `${room}key-index.ts`,
    replace: [['    if (this.#log.state.kind === "offline") return undefined;\n', ""]],
    tests: callTests,
  },
  {
    name: "latest-remembers-of-another-leadership",
    breaks: "What one leadership has read, the next one reads anew.",
    file: `${room}record-cache.ts`,
    replace: [["    this.#owners += 1;\n    return this.#owners;", "    return 1;"]],
    tests: [...cacheTests, ...callTests],
  },
  {
    name: "latest-thousand-keys-in-one-turn",
    breaks: "Many records that are remembered are answered in several turns.",
    file: `${broker}get-latest.ts`,
    replace: [["i % keysPerTurn === keysPerTurn - 1", "i < 0"]],
    tests: callTests,
  },
  {
    name: "latest-remembers-a-scan",
    breaks: "Records of a scan do not push out what is asked for by its key.",
    file: `${broker}get-latest.ts`,
    replace: [["known === undefined && !isScan", "known === undefined"]],
    tests: callTests,
  },
  {
    name: "latest-takes-half-of-a-batch",
    breaks: "A batch is committed as a whole.",
    file: `${room}latest-offsets.ts`,
    replace: [["baseOffset + keys.length > highWatermark", "baseOffset >= highWatermark"]],
    tests: offsetsTests,
  },
  {
    name: "latest-forgets-a-later-append",
    breaks: "What waits longer counts still, once an earlier record of its key is committed.",
    file: `${room}latest-offsets.ts`,
    replace: [["if (this.#appended.get(key) === offset) this", "if (offset >= 0) this"]],
    tests: offsetsTests,
  },
  {
    name: "latest-condition-on-what-is-committed",
    breaks: "What counts is the last record that was appended, committed or not.",
    file: `${room}latest-offsets.ts`,
    replace: [["this.#appended.get(key) ?? this.#committed", "this.#committed"]],
    tests: [...offsetsTests, ...indexTests],
  },
  {
    name: "latest-ready-before-the-log-is-committed",
    breaks: "An index is complete once everything that the log had is committed and read.",
    file: `${room}key-index.ts`,
    replace: [["if (this.#log.highWatermark < endOffset) {", "if (this.#log.highWatermark < 0) {"]],
    tests: indexTests,
  },
  {
    name: "latest-below-the-log-start",
    breaks: "What lies below the log's start is no answer.",
    file: `${room}key-index.ts`,
    replace: [["place.offset >= this.#log.logStartOffset ? place", "place.offset >= 0 ? place"]],
    tests: indexTests,
  },
  {
    name: "latest-full-and-goes-on",
    breaks: "An index for which there is no memory is given up.",
    file: `${room}key-index.ts`,
    replace: [["if (!indexes.isExceeded) return;", "return;"]],
    tests: indexTests,
  },
  {
    name: "latest-memory-is-not-given-back",
    breaks: "An index that is over takes no memory of the others.",
    file: `${room}key-index.ts`,
    replace: [["    this.#context.indexes.charge(-this.#chargedBytes);\n", ""]],
    tests: indexTests,
  },
  {
    name: "latest-all-in-one-turn",
    breaks: "What is committed is taken over in several turns of the event loop.",
    file: `${room}key-index.ts`,
    replace: [["commit(this.#log.highWatermark, atOnce)", "commit(this.#log.highWatermark, 1e9)"]],
    tests: indexTests,
  },
];

const ofLeaders: readonly Mutant[] = [
  {
    name: "latest-of-the-groups-is-indexed",
    breaks: "The topic of groups has no index: coordinators have everything of it in memory.",
    file: "services/broker/src/partitions/replica.ts",
    replace: [[" && this.topic !== groupStateTopic;", ";"]],
    tests: ["services/broker/src/latest/key-index.test.ts"],
  },

  {
    name: "latest-condition-not-judged",
    breaks: "An append is made only behind the record that it expects.",
    file: leader,
    replace: [["if (actual === expected) this.#append", "if (actual <= expected) this.#append"]],
    tests: indexTests,
  },
  {
    name: "latest-condition-while-loading",
    breaks: "A leader that has not read its log judges no condition.",
    file: leader,
    replace: [["    index.requireReady();\n    const [key]", "    const [key]"]],
    tests: indexTests,
  },
  {
    name: "latest-duplicate-moves-the-key",
    breaks: "A batch that comes again is in the index once.",
    file: leader,
    replace: [["=== undefined || appended.duplicate) return;", "=== undefined) return;"]],
    tests: indexTests,
  },
  {
    name: "latest-index-outlives-its-leader",
    breaks: "Every leader reads the log anew.",
    file: leader,
    replace: [["    this.useKeyIndex(undefined);\n", ""]],
    tests: indexTests,
  },
  {
    name: "latest-keyless-from-before",
    breaks: "A batch that was validated before the topic was compacted is sent again.",
    file: leader,
    replace: [
      ["if (this.#keyIndex !== undefined && append.keys", "if (append.acks > 9 && append.keys"],
    ],
    tests: indexTests,
  },
  {
    name: "latest-mismatch-tells-what-was-expected",
    breaks: "A mismatch says which record is the last one.",
    file: `${room}refusals.ts`,
    replace: [
      ["actualLastOffsetForKey: BigInt(actual)", "actualLastOffsetForKey: BigInt(expected)"],
    ],
    tests: indexTests,
  },
];

const ofCalls: readonly Mutant[] = [
  {
    name: "latest-answers-without-what-is-committed",
    breaks: "Everything that was committed when the call came is in the answer.",
    file: `${broker}get-latest.ts`,
    replace: [
      ["Math.max(committed, minOffset === undefined ?", "Math.max(0, minOffset === undefined ?"],
    ],
    tests: callTests,
  },
  {
    name: "latest-answers-of-a-leader-that-was",
    breaks: "A leadership that ends while a record is read answers nothing.",
    file: `${broker}get-latest.ts`,
    replace: [
      [
        "      const place = this.#index.latest(key);",
        "      const index = this.#index;\n      const place = index.latest(key);",
      ],
      ["      const index = this.#index;\n      if (record", "      if (record"],
    ],
    tests: callTests,
  },
  {
    name: "latest-another-key",
    breaks: "A record of another key is no answer.",
    file: `${broker}get-latest.ts`,
    replace: [["keyOf(record.key) === key) {", "keyOf(record.key) !== undefined) {"]],
    tests: callTests,
  },
  {
    name: "latest-tombstone-remembered",
    breaks: "A tombstone that compaction removed is forgotten.",
    file: `${broker}get-latest.ts`,
    replace: [["      index.forget(key, offset);\n", "      return undefined;\n"]],
    tests: callTests,
  },
  {
    name: "latest-lists-what-is-deleted",
    breaks: "A key without a value is not listed.",
    file: `${broker}get-latest.ts`,
    replace: [
      ["if (!isTombstone && offset >= logStartOffset) keys", "if (offset >= logStartOffset) keys"],
      ["if (!isScan || one.record?.value !== undefined) found", "if (key !== undefined) found"],
    ],
    tests: [...callTests],
  },
  {
    name: "latest-token-of-the-empty-key",
    breaks: "The page behind the empty key has a token.",
    file: `${broker}latest-wanted.ts`,
    replace: [['const tokenBegin = "\\u0001";', 'const tokenBegin = "";']],
    tests: socketTests,
  },
  {
    name: "latest-answers-too-large",
    breaks: "Answers stay below the size of a message.",
    file: `${broker}get-latest.ts`,
    replace: [["bytes > limits.fetchMessageBytesMax", "bytes < 0"]],
    tests: socketTests,
  },
  {
    name: "latest-keyless-records-taken",
    breaks: "A compacted topic takes no record without a key.",
    file: "packages/record/src/walk.ts",
    replace: [
      ["    if (key === undefined) {\n      throw", "    if (keys.length < 0) {\n      throw"],
    ],
    tests: ["packages/record/src/validate.test.ts"],
  },
  {
    name: "latest-condition-on-several-keys",
    breaks: "All records of a batch with a condition have its key.",
    file: `${broker}produce/conditions.ts`,
    replace: [["others.every((key) => key === first)", "others.every((key) => key !== undefined)"]],
    tests: socketTests,
  },
  {
    name: "latest-condition-ignored-by-produce-once",
    breaks: "ProduceOnce expects what it says of the key, too.",
    file: `${broker}produce-once.ts`,
    replace: [["last === undefined ? undefined : Number(last)", "undefined"]],
    tests: socketTests,
  },
  {
    name: "latest-by-key-is-no-feature",
    breaks: "A stream that requires conditions on keys is served.",
    file: `${broker}features.ts`,
    replace: [['  "latest-by-key",\n', ""]],
    tests: socketTests,
  },
];

const inTheClient: readonly Mutant[] = [
  {
    name: "latest-client-requires-nothing",
    breaks: "A server that knows no conditions on keys refuses the stream.",
    file: `${producer}batch.ts`,
    replace: [
      ['=== undefined ? undefined : "latest-by-key"', "=== undefined ? undefined : undefined"],
    ],
    tests: clientTests,
  },
  {
    name: "latest-client-fails-those-behind",
    breaks: "A condition on a key that fails does not fail others.",
    file: `${producer}dispatcher.ts`,
    replace: [
      [
        "if (batch.expectedEndOffset === undefined || this.#stopped) return;",
        "if (this.#stopped) return;",
      ],
      ["takeBehind(queue, batch, outcome)", "[...queue.batches, ...queue.retries]"],
      ['must(one.preceding, "failure before a batch")', "outcome"],
    ],
    tests: clientTests,
  },
  {
    name: "latest-client-believes-any-mismatch",
    breaks: "An earlier last record proves nothing of an attempt that may be on its way.",
    file: `${producer}condition.ts`,
    replace: [["&& actualLast > expectedLast;", "&& actualLast !== expectedLast;"]],
    tests: clientTests,
  },
];

export const latestMutants: readonly Mutant[] = [
  ...ofTheIndex,
  ...ofLeaders,
  ...ofCalls,
  ...inTheClient,
];

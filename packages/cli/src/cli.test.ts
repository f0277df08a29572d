import assert from "node:assert/strict";
import { PassThrough, Readable, Writable } from "node:stream";
import { test } from "node:test";
import type { ConsumedRecord } from "@millrace/client";
import fc from "fast-check";
import { formatterOf } from "./format.ts";
import { type Io, UsageError } from "./io.ts";
import { splitRecords, unescapeText } from "./lines.ts";
import { parsePosition } from "./position.ts";
import { recordOf } from "./produce.ts";
import { run } from "./run.ts";
import { parseConfigs } from "./topic.ts";

const split = async (chunks: readonly Uint8Array[], delimiter = "\n", max = 1 << 20) => {
  const records: string[] = [];
  for await (const one of splitRecords(Readable.from(chunks), Buffer.from(delimiter), max)) {
    records.push(one.toString("latin1"));
  }
  return records;
};

const cut = (bytes: Uint8Array, size: number): Uint8Array[] =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
    bytes.subarray(at * size, (at + 1) * size),
  );

const record: ConsumedRecord = {
  topic: "t",
  partition: 2,
  offset: 7n,
  timestampMs: 1000,
  key: Buffer.from("k"),
  value: Buffer.from([0xff, 0x0d]),
  headers: [{ name: "h", value: Buffer.from("x") }],
  leaderEpoch: 0,
};

const runWith = async (argv: readonly string[], change: Partial<Io> = {}) => {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const { signal } = new AbortController();
  const io = { stdin: Readable.from([]), stdout, stderr, env: {}, signal, progress: false };
  const code = await run(argv, { ...io, ...change });
  return { code, out: String(stdout.read() ?? ""), err: String(stderr.read() ?? "") };
};

test("lines keep carriage returns, odd bytes, empty lines and a last line without newline", async () => {
  const bytes = Buffer.from("a\r\n\n\xff\x00b\nlast", "latin1");
  assert.deepEqual(await split([bytes]), ["a\r", "", "\xff\x00b", "last"]);
  assert.deepEqual(await split([Buffer.from("a\n")]), ["a"]);
  assert.deepEqual(await split([]), []);
  await assert.rejects(split([Buffer.from("abcd")], "\n", 3), RangeError);
});

test("records do not depend on where chunks end", async () => {
  const bytes = fc.string({ unit: fc.constantFrom("a", "\r", "\n", "\xff"), maxLength: 40 });
  const check = async (text: string, size: number, delimiter: string) => {
    const expected = text.split(delimiter);
    if (expected.at(-1) === "") expected.pop();
    const chunks = cut(Buffer.from(text, "latin1"), size);
    assert.deepEqual(await split(chunks, delimiter), expected);
  };
  const delimiter = fc.constantFrom("\n", "\r\n");
  await fc.assert(fc.asyncProperty(bytes, fc.integer({ min: 1, max: 9 }), delimiter, check));
});

test("escapes become bytes", () => {
  assert.deepEqual(
    unescapeText("\\n\\t\\0\\xfe\\\\é"),
    Buffer.from("\n\t\0\xfe\\\xc3\xa9", "latin1"),
  );
});

test("formats", () => {
  assert.deepEqual(formatterOf("value")(record), Buffer.from([0xff, 0x0d, 0x0a]));
  const text = formatterOf("%t %p %o %k %h %T %%\\n")(record).toString();
  assert.equal(text, "t 2 7 k h=x 1000 %\n");
  assert.deepEqual(formatterOf("%v")(record), Buffer.from([0xff, 0x0d]));
  const json: unknown = JSON.parse(formatterOf("json")(record).toString());
  assert.deepEqual(json, {
    topic: "t",
    partition: 2,
    offset: 7,
    timestamp: "1970-01-01T00:00:01.000Z",
    key: "k",
    value_base64: "/w0=",
    headers: [{ name: "h", value: "x" }],
  });
  assert.throws(() => formatterOf("%q"), UsageError);
  assert.throws(() => formatterOf("xml"), UsageError);
});

test("positions", () => {
  assert.equal(parsePosition("earliest"), "earliest");
  assert.deepEqual(parsePosition("42"), { offset: 42n });
  assert.deepEqual(parsePosition("-5"), { tail: 5 });
  assert.deepEqual(parsePosition("1970-01-01T01:00:01+01:00"), { timestampMs: 1000 });
  for (const bad of ["", "soon", "1.5", "2026-01-01"]) {
    assert.throws(() => parsePosition(bad), UsageError);
  }
});

test("keys, null values and configs out of text", () => {
  const keySeparator = Buffer.from(":");
  const nullValue = Buffer.from("NULL");
  const shape = { topic: "t", partition: undefined, key: undefined, headers: [] };
  const made = recordOf(Buffer.from("a:NULL"), { ...shape, keySeparator, nullValue });
  assert.deepEqual([String(made.key), made.value], ["a", null]);
  assert.deepEqual(parseConfigs(["a=b=c", "d="]), { a: "b=c", d: "" });
  assert.throws(() => parseConfigs(["=b"]), UsageError);
});

test("exit codes, and one line for each failure", async () => {
  assert.equal((await runWith(["topic", "create", "--help"])).code, 0);
  for (const argv of [["nonsense"], ["topic", "create"], ["completion", "tcsh"]]) {
    const { code, err } = await runWith(argv);
    assert.equal(code, 2, argv.join(" "));
    assert.match(err, /^error: INVALID_REQUEST: [^\n]+\n$/);
  }
  const failed = await runWith(["log", "dump", "/nonexistent/0.log"]);
  assert.equal(failed.code, 1);
  assert.match(failed.err, /^error: [A-Z_]+: [^\n]+\n$/);
  const interrupted = await runWith(["completion", "bash"], { signal: AbortSignal.abort() });
  assert.equal(interrupted.code, 130);
});

test("a closed pipe ends quietly", async () => {
  const stdout = new Writable({
    write: (_chunk, _encoding, done) => done(Object.assign(new Error("gone"), { code: "EPIPE" })),
  });
  stdout.on("error", () => {});
  const { code, err } = await runWith(["completion", "bash"], { stdout });
  assert.deepEqual([code, err], [0, ""]);
});

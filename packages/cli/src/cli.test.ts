import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import { test } from "node:test";
import type { ConsumedRecord } from "@millrace/client";
import { ErrorCode, hasCode } from "@millrace/errors";
import fc from "fast-check";
import { formatterOf } from "./format.ts";
import { splitRecords, unescapeText } from "./lines.ts";
import { parsePosition } from "./position.ts";
import { recordOf } from "./produce-input.ts";
import { run } from "./run.ts";

const split = async (chunks: readonly Uint8Array[], delimiter = "\n"): Promise<string[]> => {
  const records: string[] = [];
  for await (const record of splitRecords(Readable.from(chunks), Buffer.from(delimiter), 1000)) {
    records.push(record.toString("latin1"));
  }
  return records;
};

test("records are split byte for byte, wherever chunks end", async () => {
  assert.deepEqual(await split([Buffer.from("a\r\n\n"), Buffer.from("b")]), ["a\r", "", "b"]);
  assert.deepEqual(await split([Buffer.from("a\n")]), ["a"]);
  assert.deepEqual(await split([]), []);
  assert.deepEqual(await split([Buffer.from("a-"), Buffer.from("-b--c")], "--"), ["a", "b", "c"]);
  await assert.rejects(split([Buffer.alloc(2000)]), (thrown) => {
    assert.ok(hasCode(thrown, ErrorCode.MESSAGE_TOO_LARGE));
    return /record 1 of the input has more than 1000 bytes/.test(thrown.message);
  });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 20 })), async (chunks) => {
      const all = Buffer.concat(chunks).toString("latin1");
      const expected = all.split("\n");
      if (expected.at(-1) === "") expected.pop();
      assert.deepEqual(await split(chunks), expected);
    }),
  );
});

test("escapes", () => {
  assert.deepEqual(unescapeText("a\\n\\t\\x00\\\\ü").toString(), "a\n\t\0\\ü");
});

const record: ConsumedRecord = {
  topic: "t",
  partition: 3,
  offset: 7n,
  timestampMs: 1000,
  key: Buffer.from("k"),
  value: Buffer.from([0x76, 0xff]),
  headers: [{ name: "h", value: Buffer.from("x") }],
  leaderEpoch: 1,
};

test("formats", () => {
  assert.deepEqual(formatterOf("value")(record), Buffer.from([0x76, 0xff, 0x0a]));
  assert.equal(formatterOf("%t %p %o %k %h %T%%\\n")(record).toString(), "t 3 7 k h=x 1000%\n");
  const json = JSON.parse(formatterOf("json")(record).toString());
  assert.deepEqual([json.offset, json.key, json.value_base64], [7, "k", "dv8="]);
  assert.throws(() => formatterOf("%q"), /unknown/);
  assert.throws(() => formatterOf("xml"), /use value/);
});

test("positions", () => {
  assert.deepEqual(parsePosition("5"), { offset: 5n });
  assert.deepEqual(parsePosition("-5"), { tail: 5 });
  assert.deepEqual(parsePosition("1970-01-01T00:00:01Z"), { timestampMs: 1000 });
  assert.equal(parsePosition("latest"), "latest");
  for (const wrong of ["", "yesterday", "2026-13-01T00:00:00Z", "1.5"]) {
    assert.throws(() => parsePosition(wrong), /use earliest/);
  }
});

test("keys and null values", () => {
  const shape = {
    topic: "t",
    partition: undefined,
    key: undefined,
    keySeparator: Buffer.from(":"),
    headers: [],
    nullValue: Buffer.from("NULL"),
  };
  const made = recordOf(Buffer.from("k:v:w"), shape);
  assert.deepEqual([String(made.key), String(made.value)], ["k", "v:w"]);
  assert.equal(recordOf(Buffer.from("k:NULL"), shape).value, null);
  assert.equal(recordOf(Buffer.from("plain"), shape).key, undefined);
});

const everything = (stream: PassThrough): string => {
  let text = "";
  for (let chunk = stream.read(); chunk !== null; chunk = stream.read()) text += String(chunk);
  return text;
};

const runHere = async (...argv: string[]) => {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const io = {
    stdin: Readable.from([]),
    stdout,
    stderr,
    env: { MILLRACE_BOOTSTRAP: "127.0.0.1:1" },
    signal: new AbortController().signal,
    progress: false,
  };
  const code = await run(argv, io);
  return { code, out: everything(stdout), err: everything(stderr) };
};

test("exit codes and one line per failure", async () => {
  for (const argv of [
    ["nonsense"],
    ["topic", "create"],
    ["topic", "create", "t", "--partitions", "x"],
  ]) {
    const { code, err } = await runHere(...argv);
    assert.equal(code, 2, argv.join(" "));
    assert.match(err, /^error: INVALID_REQUEST: [^\n]+\n$/);
  }
  const down = await runHere("topic", "list", "--timeout", "1");
  assert.equal(down.code, 1);
  assert.match(down.err, /^error: UNAVAILABLE: [^\n]+\n$/);
  const missing = await runHere("log", "verify", "/no/such/directory");
  assert.equal(missing.code, 1);
  assert.match(missing.err, /^error: CORRUPT_MESSAGE: meta[^\n]+\n$/);
});

test("every command's help has an example", async () => {
  const commands = [
    ["topic", "create"],
    ["topic", "list"],
    ["topic", "describe"],
    ["topic", "alter"],
    ["topic", "delete"],
    ["topic", "delete-records"],
    ["produce"],
    ["consume"],
    ["broker", "list"],
    ["broker", "describe"],
    ["cluster", "status"],
    ["log", "verify"],
    ["log", "dump"],
    ["completion"],
  ];
  for (const argv of commands) {
    const { code, out } = await runHere(...argv, "--help");
    assert.equal(code, 0, argv.join(" "));
    assert.match(out, /Example:\n {2}\S/, argv.join(" "));
  }
});

test("completion knows the commands", async () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const { out } = await runHere("completion", shell);
    assert.match(out, /delete-records/);
    assert.doesNotMatch(out, /truncate/);
  }
});

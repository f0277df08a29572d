import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { PassThrough, Readable, Writable } from "node:stream";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ErrorCode, hasCode } from "@millrace/errors";
import { BrokerDescriptionSchema } from "@millrace/proto/controller";
import type { Command } from "commander";
import fc from "fast-check";
import { adviceOf, inFlags } from "./advice.ts";
import { leftOn } from "./broker.ts";
import { formatterOf, type Shown } from "./format.ts";
import {
  ClosedPipe,
  Interrupted,
  type Io,
  printIfRead,
  printResult,
  tell,
  UsageError,
} from "./io.ts";
import { splitRecords, unescapeText } from "./lines.ts";
import { parsePosition } from "./position.ts";
import { piecesOf, recordOf } from "./produce-input.ts";
import { standardSource } from "./profiles.ts";
import { parseReplicas } from "./reassign.ts";
import { program, run } from "./run.ts";
import { parseConfigs } from "./topic.ts";

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
    return /record 1 of the input has more than 1,000 bytes/.test(thrown.message);
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

test("a record in many chunks is joined once, and refused as soon as it is too large", async (context) => {
  let copied = 0;
  const concat = Buffer.concat;
  context.mock.method(Buffer, "concat", (list: readonly Uint8Array[], length?: number) => {
    const joined = concat(list, length);
    copied += joined.length;
    return joined;
  });
  const chunk = Buffer.alloc(1000, "x");
  for (const delimiter of ["\n", "--"]) {
    copied = 0;
    const records: number[] = [];
    const chunks = Readable.from(Array.from({ length: 500 }, () => chunk));
    for await (const record of splitRecords(chunks, Buffer.from(delimiter), 1_000_000)) {
      records.push(record.length);
    }
    assert.deepEqual(records, [500_000]);
    assert.ok(copied < 3 * 500_000, `${copied} bytes were copied`);
  }
  let read = 0;
  const endless = async function* () {
    for (; read < 1000; read += 1) yield chunk;
  };
  await assert.rejects(async () => {
    for await (const _ of splitRecords(endless(), Buffer.from("\n"), 10_000));
  }, /record 1 of the input/);
  assert.ok(read < 15, `${read} chunks were read`);
});

test("escapes", () => {
  assert.deepEqual(unescapeText("a\\n\\t\\x00\\\\ü").toString(), "a\n\t\0\\ü");
});

const record: Shown = {
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
  const late = { ...record, timestampMs: Number.MAX_SAFE_INTEGER };
  const { timestamp } = JSON.parse(formatterOf("json")(late).toString());
  assert.equal(timestamp, "9007199254740991 ms since 1970");
  assert.equal(json.timestamp, "1970-01-01T00:00:01.000Z");
  const more = "%k{hex} %v{base64} %k{json} %K %V %H %e %T{iso} %T{date} %T{s}";
  assert.equal(
    formatterOf(more)(record).toString(),
    '6b dv8= "k" 1 2 1 1 1970-01-01T00:00:01.000Z 1970-01-01 1',
  );
  const bare = { ...record, key: null, value: null, headers: [] };
  assert.equal(formatterOf("[%k{hex}%v] %K %V %H")(bare).toString(), "[] -1 -1 0");
  // Braces of the text itself need no escape.
  assert.equal(formatterOf('{"o":%o}')(record).toString(), '{"o":7}');
  assert.throws(() => formatterOf("%q"), /%q is unknown: use %t %p/);
  assert.throws(() => formatterOf("%k{octal}"), /use %k\{hex\} %k\{base64\} %k\{json\}/);
  assert.throws(() => formatterOf("%o{hex}"), /%o has no other form/);
  assert.throws(() => formatterOf("%t{constructor}"), /no other form/);
  assert.throws(() => formatterOf("xml"), /use value/);
});

test("positions", () => {
  assert.deepEqual(parsePosition("--from", "5", 0), { offset: 5n });
  assert.deepEqual(parsePosition("--from", "-5", 0), { tail: 5 });
  assert.deepEqual(parsePosition("--from", "1970-01-01T00:00:01Z", 0), { timestampMs: 1000 });
  assert.equal(parsePosition("--from", "latest", 0), "latest");
  assert.deepEqual(parsePosition("--from", "2024-02-29 12:00:00+02:00", 0), {
    timestampMs: 1709200800000,
  });
  const nowMs = Date.parse("2026-11-28T10:00:00Z");
  const ago = { "-90s": 90_000, "-1h": 3_600_000, "-2d": 172_800_000, "-5ms": 5 };
  for (const [text, ms] of Object.entries(ago)) {
    assert.deepEqual(parsePosition("--from", text, nowMs), { timestampMs: nowMs - ms }, text);
  }
  const times = {
    "2026-11-28": "2026-11-28T00:00:00Z",
    "2026-11-28T09:30": "2026-11-28T09:30:00Z",
    "2026-11-28 09:30:01.5": "2026-11-28T09:30:01.500Z",
  };
  for (const [text, time] of Object.entries(times)) {
    const timestampMs = Date.parse(time);
    assert.deepEqual(parsePosition("--from", text, nowMs), { timestampMs }, text);
  }
  assert.deepEqual(parsePosition("--from", "1795836527570ms", 0), { timestampMs: 1795836527570 });
  assert.deepEqual(parsePosition("--from", "@42", 0), { offset: 42n });
  const noSuchDay = "2026-02-30T00:00:00Z";
  for (const wrong of [
    "",
    "yesterday",
    "2026-13-01T00:00:00Z",
    "1.5",
    "-1y",
    "--1h",
    "-1.5",
    "1h",
    "@-1",
    "12:00",
    noSuchDay,
    "9".repeat(16),
  ]) {
    assert.throws(() => parsePosition("--to", wrong, 0), /--to .*: use earliest/s);
  }
});

test("keys and null values", () => {
  const shape = {
    isJson: false,
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

test("configs are pairs of any keys, each given once", () => {
  assert.deepEqual(
    [...parseConfigs(["__proto__=1", "a=b=c"])],
    [
      ["__proto__", "1"],
      ["a", "b=c"],
    ],
  );
  for (const wrong of [["a"], ["=b"], ["a=1", "a=2"]]) {
    assert.throws(
      () => parseConfigs(wrong),
      (thrown) => thrown instanceof UsageError,
    );
  }
});

const everything = (stream: PassThrough): string => {
  let text = "";
  for (let chunk = stream.read(); chunk !== null; chunk = stream.read()) text += String(chunk);
  return text;
};

const ioWith = (changes: Partial<Io>) => {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const io: Io = {
    stdin: Readable.from([]),
    stdout,
    stderr,
    env: { MILLRACE_BOOTSTRAP: "127.0.0.1:1" },
    signal: new AbortController().signal,
    progress: false,
    screen: false,
    columns: () => Number.POSITIVE_INFINITY,
    ...changes,
  };
  return { io, stdout, stderr };
};

const runWith = async (changes: Partial<Io>, ...argv: string[]) => {
  const { io, stdout, stderr } = ioWith(changes);
  const code = await run(argv, io);
  return { code, out: everything(stdout), err: everything(stderr) };
};

const runHere = (...argv: string[]) => runWith({}, ...argv);

test("mistakes of the user are told as such", async () => {
  const directory = tmpdir();
  const cases: readonly [RegExp, number, ...string[]][] = [
    [/--key-separator is empty/, 2, "produce", "t", "--key-separator", ""],
    [/--delimiter is empty/, 2, "produce", "t", "--delimiter", ""],
    [/is a directory/, 2, "produce", "t", directory],
    [/is not a file/, 2, "log", "dump", directory],
    [/no\/such: there is no such directory: check/, 2, "log", "verify", "/no/such"],
    [/no\/such.log: there is no such file: check/, 2, "log", "dump", "/no/such.log"],
    [/is not a directory: name the --data-dir/, 2, "log", "verify", process.execPath],
    [/is not a data directory: name the --data-dir/, 2, "log", "verify", dirname(process.execPath)],
    [/--partition is missing: give/, 2, "topic", "reassign", "t", "--replicas", "1"],
    [/--partition x: use/, 2, "topic", "reassign", "t", "--cancel", "--partition", "x"],
    [
      /--bootstrap "localhost": use HOST:PORT, such as localhost:7400$/m,
      2,
      "topic",
      "list",
      "-b",
      "localhost",
    ],
    [/"http:\/\/a:1\/x": use HOST:PORT, such as a:1$/m, 2, "topic", "list", "-b", "http://a:1/x"],
    [/":75": use HOST:PORT, such as localhost:7400$/m, 2, "topic", "list", "-b", ":75"],
    [/Allowed choices are all, leader, none: see --help$/m, 2, "produce", "t", "--acks", "most"],
    [/no\/such: there is no such file: check the name$/m, 2, "produce", "t", "/no/such"],
    [/--bootstrap ",," names no server/, 2, "topic", "list", "--bootstrap", ",,"],
    [/--partitions x/, 2, "topic", "alter", "t", "--config", "a=b", "--partitions", "x"],
    [/--rate 0/, 2, "produce", "t", "--rate", "0"],
    [
      /--partition 5000000000: .* 0 to 4,294,967,295$/m,
      2,
      "consume",
      "t",
      "--partition",
      "5000000000",
    ],
    [/--partition -1/, 2, "consume", "t", "--partition", "-1"],
  ];
  for (const [pattern, code, ...argv] of cases) {
    const { err, code: got } = await runHere(...argv);
    assert.match(err, pattern);
    assert.doesNotMatch(err, /INTERNAL/);
    if (code === 2) assert.equal(got, 2, argv.join(" "));
    else assert.ok(got > 0);
  }
  const { err } = await runWith({ env: { MILLRACE_BOOTSTRAP: "" } }, "topic", "list", "--help");
  assert.equal(err, "");
});

test("where no server answers, the flag or the variable is named", async () => {
  const refused = await runWith({}, "topic", "list", "--bootstrap", "127.0.0.1:1");
  assert.equal(
    refused.err,
    "error: UNAVAILABLE: no server answers (127.0.0.1:1 refuses connections): " +
      "check --bootstrap, the servers and the network\n",
  );
  const env = { MILLRACE_BOOTSTRAP: "127.0.0.1:1" };
  const { err } = await runWith({ env }, "produce", "t");
  assert.match(err, /: check MILLRACE_BOOTSTRAP, the servers and the network\n$/);
  const port = "no server answers (a:1 wants TLS): set bootstrap to the port for clients";
  assert.match(adviceOf(port, "--bootstrap"), /: set --bootstrap to the port for clients$/);
  assert.match(adviceOf(port, standardSource), /: set --bootstrap to the port for clients$/);
  const nobody = "no server answers (a:1 refuses): check bootstrap, the servers and the network";
  assert.equal(
    adviceOf(nobody, standardSource),
    "no server answers (a:1 refuses): start a server (millrace serve), or set --bootstrap",
  );
});

test("options of the client that an error names are told as flags", () => {
  const cases = [
    [
      "late: check the cluster, or raise deliveryTimeoutMs",
      "late: check the cluster, or raise --delivery-timeout",
    ],
    ["too large: send smaller records, or raise bufferBytesMax", "too large: send smaller records"],
    ["offset 5: reset the position", "offset 5: choose another --from"],
    ["another topic: seek or assign again, or set onOutOfRange", "another topic: start again"],
    ["none of them: reset the position of it", "none of them: reset the position of it"],
  ] as const;
  for (const [text, told] of cases) assert.equal(inFlags(text), told);
});

test("--version tells the version, the commit and Node", async () => {
  const { code, out, err } = await runHere("--version");
  assert.equal(code, 0, err);
  assert.match(out, /^millrace \d+\.\d+\.\d+ \(.+, Node \d+\.\d+\.\d+\)\n$/);
});

const newline = Buffer.from("\n");

test("an input that cannot be read is told with its name", async () => {
  const stdin = new Readable({
    read() {
      this.destroy(new Error("EISDIR: illegal operation on a directory, read"));
    },
  });
  const io = { stdin } as unknown as Io;
  await assert.rejects(
    async () => {
      for await (const _ of piecesOf([], { delimiter: newline, wholeFile: false }, io));
    },
    (thrown) => {
      assert.ok(hasCode(thrown, ErrorCode.INVALID_REQUEST));
      return /stdin cannot be read \(EISDIR/.test(thrown.message);
    },
  );
});

test("a whole file has the same bound as a line", async () => {
  const mib = Buffer.alloc(1024 * 1024);
  const io = { stdin: Readable.from(Array.from({ length: 20 }, () => mib)) } as unknown as Io;
  await assert.rejects(
    async () => {
      for await (const _ of piecesOf(["-"], { delimiter: newline, wholeFile: true }, io));
    },
    (thrown) => hasCode(thrown, ErrorCode.MESSAGE_TOO_LARGE),
  );
});

/** A stream whose writes fail. */
const failing = (code: string): Writable =>
  new Writable({
    write(_chunk, _encoding, done) {
      done(Object.assign(new Error(code), { code }));
    },
  }).on("error", () => {});

test("an output that cannot be written has a code", async () => {
  const to = (code: string): Io => ({ stdout: failing(code) }) as unknown as Io;
  for (const print of [printResult, printIfRead]) {
    await assert.rejects(print(to("ENOSPC"), "x"), (thrown) =>
      hasCode(thrown, ErrorCode.DISK_FULL),
    );
    await assert.rejects(print(to("EIO"), "x"), (thrown) => hasCode(thrown, ErrorCode.UNAVAILABLE));
  }
  await assert.rejects(printResult(to("EPIPE"), "x"), (thrown) => thrown instanceof ClosedPipe);
  await printIfRead(to("EPIPE"), "x");
});

test("a stderr that cannot be written changes no exit code", async () => {
  for (const code of ["EPIPE", "ENOSPC"]) {
    const stderr = failing(code);
    await tell({ stderr } as unknown as Io, "x");
    await tell({ stderr } as unknown as Io, "once more");
    const usage = await runWith({ stderr: failing(code) }, "nonsense");
    assert.equal(usage.code, 2);
    const down = await runWith({ stderr: failing(code) }, "topic", "list", "--timeout", "1");
    assert.equal(down.code, 1);
    const text = await runWith({ stderr: failing(code) }, "completion", "bash");
    assert.equal(text.code, 0);
    assert.match(text.out, /complete -o default/);
  }
});

test("an interrupt ends a command that waits for a silent server", {
  timeout: 20_000,
}, async (context) => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket));
  context.after(() => {
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const address = silent.address();
  assert.ok(typeof address === "object" && address !== null);
  const bootstrap = `127.0.0.1:${address.port}`;
  for (const argv of [
    ["topic", "list"],
    ["consume", "t"],
    ["produce", "t"],
  ]) {
    const controller = new AbortController();
    const startedMs = performance.now();
    setTimeout(() => controller.abort(new Interrupted(143)), 200);
    const { signal } = controller;
    const { code, err } = await runWith({ signal }, ...argv, "--bootstrap", bootstrap);
    assert.equal(code, 143, argv.join(" "));
    assert.equal(err, "");
    assert.ok(performance.now() - startedMs < 3000);
  }
});

test("exit codes and one line per failure", async () => {
  assert.equal((await runHere("topic", "truncate", "--help")).code, 0, "the old name works");
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
});

test("every command has an example in its help", async () => {
  const paths = (command: Command): string[][] =>
    command.commands.flatMap((sub) => [
      [sub.name()],
      ...paths(sub).map((path) => [sub.name(), ...path]),
    ]);
  // Those of the server are its own.
  const all = paths(program(ioWith({}).io)).filter(([first]) => first !== "serve");
  const commands = [
    ["topic", "create"],
    ["topic", "list"],
    ["topic", "describe"],
    ["topic", "alter"],
    ["topic", "delete"],
    ["topic", "delete-records"],
    ["topic", "elect-leader"],
    ["topic", "reassign"],
    ["produce"],
    ["consume"],
    ["broker", "list"],
    ["broker", "describe"],
    ["broker", "cordon"],
    ["broker", "uncordon"],
    ["broker", "drain"],
    ["broker", "decommission"],
    ["cluster", "status"],
    ["maintenance", "list"],
    ["maintenance", "acquire"],
    ["maintenance", "renew"],
    ["maintenance", "release"],
    ["log", "verify"],
    ["log", "dump"],
    ["completion"],
  ];

  const known = new Set(all.map((path) => path.join(" ")));
  for (const command of commands) assert.ok(known.has(command.join(" ")), command.join(" "));
  for (const path of [[], ...all]) {
    const { code, out } = await runHere(...path, "--help");
    assert.equal(code, 0);
    assert.match(out, /\nExample:\n {2}\S/, path.join(" "));
  }
});

test("maintenance is asked for in one way", async () => {
  for (const [argv, text] of [
    [["acquire", "3"], /required option '--kind <KIND>'/],
    [["acquire", "3", "--kind", "reboot"], /--kind "reboot": use one of restart, drain/],
    [["acquire", "x", "--kind", "restart"], /ID x: use a whole number/],
    [["renew", "3"], /required option '--token <TOKEN>'/],
    [["renew", "3", "--token", "x"], /--token x: use a whole number/],
    [["release", "3"], /give one of --token and --force/],
    [["release", "3", "--token", "1", "--force"], /give one of --token and --force/],
  ] as const) {
    const { code, err } = await runHere("maintenance", ...argv);
    assert.equal(code, 2, argv.join(" "));
    assert.match(err, text);
  }
});

test("a reassignment is asked for in one way", async () => {
  assert.deepEqual(parseReplicas("1, 2,3"), [1, 2, 3]);
  for (const wrong of ["", "1,", "a", "-1"]) assert.throws(() => parseReplicas(wrong), UsageError);
  const reassign = ["topic", "reassign", "t", "--partition", "0"];
  for (const argv of [[], ["--replicas", "1", "--cancel"]]) {
    const { code, err } = await runHere(...reassign, ...argv);
    assert.equal(code, 2);
    assert.match(err, /give one of --replicas, --cancel and --list/);
  }
});

test("what is left on a broker is told in words", () => {
  const counts = { replicaCount: 5, removingCount: 2, immovableCount: 0, leftoverCount: 0 };
  const of = (more: Partial<typeof counts>) =>
    leftOn(create(BrokerDescriptionSchema, { ...counts, ...more }));
  assert.equal(of({}), "5 replicas left, 2 of them moving");
  assert.equal(
    of({ immovableCount: 1, leftoverCount: 3 }),
    "5 replicas left, 2 of them moving, 1 that no other broker can take, 3 logs to delete",
  );
});

/** The examples, each in a copy, against one server. Every consumer reads what all produced. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { connect } from "@millrace/client";
import { murmur2, partitionOfKey } from "../../packages/record/src/partitioner.ts";
import { missing } from "../../tools/languages/fetch.ts";
import { ServerProcess, withDirectory } from "../integration/server.ts";
import { copyInto, guideKeys, mustRun, root, runGuide, runGuideAt, withKits } from "./copy.ts";

const partitions = 3;
const topic = "events";

/** What has been produced by examples that ran, as lines of consumers without their offsets. */
const produced: string[] = [];

/** Lines with keys, and one without, as standard input of a producer. */
const linesOf = (language: string): string => {
  const keyed = guideKeys()
    .filter(([key]) => key !== "")
    .map(([key]) => [key, `${language} ${key}`] as const);
  for (const [key, value] of keyed) {
    produced.push(`${partitionOfKey(Buffer.from(key), partitions)} ${key} ${value}`);
  }
  return keyed.map(([key, value]) => `${key}\t${value}\n`).join("");
};

/** A consumer's lines without their offsets, which must rise by one within each partition. */
const withoutOffsets = (output: string): string[] => {
  const next = new Map<string, number>();
  return output
    .trimEnd()
    .split("\n")
    .map((line) => {
      const [, partition = "", offset = "", rest] = /^(\d+) (\d+) (.*)$/.exec(line) ?? [];
      assert.equal(Number(offset), next.get(partition) ?? 0, line);
      next.set(partition, Number(offset) + 1);
      return `${partition} ${rest}`;
    });
};

const checkAll = (outputs: readonly string[]): void => {
  const lines = outputs.flatMap((output) => (output === "" ? [] : withoutOffsets(output)));
  assert.notEqual(produced.length, 0);
  assert.deepEqual(lines.toSorted(), produced.toSorted());
};

const checkPython = (cwd: string, endpoint: string): void => {
  const env = withKits("python");
  runGuide("Python", { cwd, env });
  const python = (name: string, input: string, ...args: string[]): string =>
    mustRun(["python", `examples/python/${name}.py`, endpoint, ...args], { cwd, env, input });
  assert.match(python("producer", linesOf("Python"), topic), /^partition \d from offset \d+$/m);
  checkAll([python("consumer", "", topic, "--until-end")]);
};

const checkGo = (cwd: string, endpoint: string): void => {
  const env = withKits("protoc", "go");
  runGuide("Go", { cwd, env });
  const at = { cwd: join(cwd, "examples/go"), env };
  mustRun(["go", "build", "-o", "bin/", "./producer", "./consumer"], at);
  const input = linesOf("Go");
  assert.match(mustRun(["bin/producer", endpoint, topic], { ...at, input }), /^partition \d from/m);
  const read = (partition: number): string =>
    mustRun(["bin/consumer", endpoint, topic, String(partition), "--until-end"], at);
  checkAll([read(0), read(1), read(2)]);
};

/** The client is a package of this repository, so these run where they are. */
const checkJavaScript = (endpoint: string): void => {
  const node = (file: string, input: string, ...args: string[]): string =>
    mustRun([process.execPath, `examples/${file}`, endpoint, topic, ...args], { cwd: root, input });
  node("typescript/producer.ts", linesOf("TypeScript"));
  checkAll([node("typescript/consumer.ts", "", "--until-end")]);
  const sent = node("javascript/producer.cjs", "", "abc", "from CommonJS");
  assert.match(sent, /^partition 0 at offset \d+\n$/);
  produced.push("0 abc from CommonJS");
  checkAll([node("javascript/consumer.cjs", "", "--until-end")]);
};

/** After what is before offset 1 of partition 0, in the midst of a batch, has been deleted. */
const checkStart = (cwd: string, endpoint: string): void => {
  const python = ["python", "examples/python/consumer.py", endpoint, topic, "--until-end"];
  const go = ["examples/go/bin/consumer", endpoint, topic, "0", "--until-end"];
  for (const command of [python, go]) {
    const out = mustRun(command, { cwd, env: withKits("python", "go") });
    assert.equal(/^0 (\d+) /m.exec(out)?.[1], "1", command.join(" "));
  }
};

/** A batch that a consumer cannot read ends it with one line. */
const checkCompressed = (cwd: string, endpoint: string): void => {
  const python = ["python", "examples/python/consumer.py", endpoint, "squeezed", "--until-end"];
  const go = ["examples/go/bin/consumer", endpoint, "squeezed", "0", "--until-end"];
  for (const [command = "", ...args] of [python, go]) {
    const env = withKits("python", "go");
    const { status, stderr } = spawnSync(command, args, { cwd, env, encoding: "utf8" });
    assert.equal(status, 1, command);
    assert.match(stderr, /^.*a batch is compressed: COMPRESSION_GZIP\n(?:exit status 1\n)?$/);
  }
};

const checkGrpcurl = (cwd: string, endpoint: string): void => {
  const env = withKits("grpcurl");
  const said = runGuideAt("Which calls", [endpoint, "called"], { cwd, env });
  assert.match(said, /^millrace\.broker\.v1\.FetchService$/m);
  assert.match(said, /"name": "called"/);
  const call = ["sh", "examples/grpcurl.sh", endpoint, "curled"];
  const out = mustRun(call, { cwd, env });
  assert.match(out, /"guarantee": "GUARANTEE_FSYNCED_QUORUM"/);
  const value = Buffer.from("hello from grpcurl").toString("base64");
  assert.ok(out.includes(`"value": "${value}"`), out);
};

/** Records per second that the guide promises of Python. */
const promised = 100_000;

const checkThroughput = (context: TestContext, cwd: string, endpoint: string): void => {
  const env = withKits("python");
  runGuide("Python", { cwd, env });
  let best = 0;
  // Other tests run beside this one: the best of three, unless the first is enough.
  for (let i = 0; i < 3 && best < promised; i += 1) {
    const command = ["python", "examples/python/throughput.py", endpoint, "fast", "300000"];
    const said = mustRun(command, { cwd, env });
    context.diagnostic(said.trim());
    best = Math.max(best, Number(/: (\d+) records\/s$/m.exec(said)?.[1]));
  }
  assert.ok(best >= promised, `${best} records/s`);
};

test("the examples", { timeout: 280_000 }, async (context) => {
  await withDirectory(async (cwd) => {
    copyInto(cwd);
    const server = new ServerProcess(join(cwd, "data"));
    try {
      const { client: endpoint } = await server.ready();
      await using client = await connect({ bootstrap: endpoint });
      await client.admin.createTopic({ name: topic, partitions });
      for (const name of ["curled", "fast", "squeezed"]) {
        await client.admin.createTopic({ name, partitions: 1 });
      }
      await context.test("TypeScript and CommonJS", () => checkJavaScript(endpoint));
      const noPython = missing("python");
      await context.test("Python", { skip: noPython }, () => checkPython(cwd, endpoint));
      await context.test("Go", { skip: missing("go", "protoc") }, () => checkGo(cwd, endpoint));
      await client.admin.deleteRecords({ topic, partition: 0, beforeOffset: 1n });
      const noTwo = missing("python", "go", "protoc");
      await context.test("a log that begins within a batch", { skip: noTwo }, () =>
        checkStart(cwd, endpoint),
      );
      await using producer = client.producer({ compression: "gzip" });
      await producer.send({ topic: "squeezed", value: "a".repeat(1000) });
      await context.test("a compressed batch", { skip: noTwo }, () =>
        checkCompressed(cwd, endpoint),
      );
      const noGrpcurl = missing("grpcurl");
      await context.test("grpcurl", { skip: noGrpcurl }, () => checkGrpcurl(cwd, endpoint));
      await context.test("Python, 100,000 records per second", { skip: noPython }, (inner) =>
        checkThroughput(inner, cwd, endpoint),
      );
      const end = await client.admin.listOffset({ topic: "fast", partition: 0, at: "latest" });
      if (noPython === false) assert.equal(Number(end?.offset) % 300_000, 0);
    } finally {
      await server.kill("SIGTERM");
    }
  });
});

test("the guide's hashes and partitions of keys are the client's", () => {
  const keys = guideKeys();
  assert.ok(keys.length >= 8, `${keys.length} keys`);
  for (const [key, hash, of3, of12] of keys) {
    const bytes = Buffer.from(key);
    assert.equal(murmur2(bytes) >>> 0, hash, key);
    assert.deepEqual([partitionOfKey(bytes, 3), partitionOfKey(bytes, 12)], [of3, of12], key);
  }
});

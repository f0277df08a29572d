/** Clients that are not ours. Each is skipped, by name, where its tool is missing. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  globSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { connect } from "@millrace/client";
import { type Kit, kitDirectory } from "../../tools/languages/fetch.ts";
import { ServerProcess, withDirectory } from "../integration/server.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** Programs of the environment, or of the kits of `npm run languages:fetch`, or of the machine. */
const kitProgram = (kit: Kit, path: string): string | undefined => {
  const directory = kitDirectory(kit);
  return directory && join(directory, path);
};
const python = process.env["MILLRACE_PYTHON"] ?? kitProgram("python", "bin/python") ?? "python3";
const grpcurl = process.env["MILLRACE_GRPCURL"] ?? kitProgram("grpcurl", "grpcurl") ?? "grpcurl";

const has = (command: string, args: readonly string[]): boolean =>
  spawnSync(command, args, { stdio: "ignore" }).status === 0;

const noPython =
  !has(python, ["-c", "import grpc, grpc_tools"]) && `${python} has no grpcio and grpcio-tools`;
const noGrpcurl = !has(grpcurl, ["-version"]) && `${grpcurl} is not installed`;

const output = (command: string, args: readonly string[], input?: Buffer): string => {
  const done = spawnSync(command, args, { cwd: root, encoding: "utf8", ...(input && { input }) });
  assert.equal(done.status, 0, done.stderr);
  return done.stdout;
};

const withServer = async (run: (endpoint: string, directory: string) => Promise<void>) => {
  await withDirectory(async (directory) => {
    const server = new ServerProcess(directory);
    try {
      const { client: endpoint } = await server.ready();
      const client = await connect({ bootstrap: [endpoint] });
      await client.admin.createTopic({ name: "t", partitions: 1 });
      await client.close();
      await run(endpoint, directory);
    } finally {
      await server.kill("SIGKILL");
    }
  });
};

/** What a Python client says that was made from the .proto files alone. */
const pythonSays = (script: string, endpoint: string): string => {
  const stubs = mkdtempSync(join(tmpdir(), "millrace-stubs-"));
  try {
    const protos = globSync("**/*.proto", { cwd: join(root, "proto") });
    const outputs = [`--python_out=${stubs}`, `--grpc_python_out=${stubs}`];
    output(python, ["-m", "grpc_tools.protoc", "-I", "proto", ...outputs, ...protos]);
    return output(python, [`test/conformance/${script}`, endpoint, "t", stubs]);
  } finally {
    rmSync(stubs, { recursive: true });
  }
};

test("Python, from the .proto files, over both streams", { skip: noPython }, async () => {
  await withServer(async (endpoint) => {
    const said = pythonSays("produce_and_fetch.py", endpoint);
    assert.equal(said, "acknowledged 1000 fetched 1000\n");
  });
});

test("Python, 200 requests of 1 MB before it reads a result", { skip: noPython }, async () => {
  await withServer(async (endpoint) => {
    assert.equal(pythonSays("naive_pipelining.py", endpoint), "acknowledged 200\n");
  });
});

test("Python, two writers that race for the end of a log", { skip: noPython }, async () => {
  await withServer(async (endpoint) => {
    assert.equal(pythonSays("conditional_append.py", endpoint), "won 20 of 20\n");
  });
});

test("protoc reads a segment file as a Segment", { skip: noPython }, async () => {
  await withServer(async (endpoint, directory) => {
    const client = await connect({ bootstrap: [endpoint] });
    await client.producer().send({ topic: "t", value: "first line" });
    await client.close();
    const [name = ""] = readdirSync(join(directory, "partitions"));
    const path = join(directory, "partitions", name, "00000000000000000000.log");
    // An acknowledged batch is in the journal; its segment follows in the background.
    while (!existsSync(path) || statSync(path).size === 0) await sleep(20);
    const segment = readFileSync(path);
    const decode = ["--decode=millrace.storage.v1.Segment", "millrace/storage/v1/record.proto"];
    const text = output(python, ["-m", "grpc_tools.protoc", "-I", "proto", ...decode], segment);
    assert.match(text, /^batches \{\n {2}base_offset: 0\n[\s\S]*first line/);
  });
});

test("grpcurl, by reflection, lists, produces and fetches", { skip: noGrpcurl }, async () => {
  await withServer(async (endpoint) => {
    const call = (...args: string[]): string => output(grpcurl, ["-plaintext", ...args]);
    assert.match(call(endpoint, "list"), /millrace\.broker\.v1\.ProduceService/);
    const produce = '{"topic":"t","records":[{"value":"aGVsbG8="}]}';
    const made = call("-d", produce, endpoint, "millrace.broker.v1.ProduceService/ProduceOnce");
    assert.match(made, /"guarantee": "GUARANTEE_FSYNCED_QUORUM"/);
    const fetch = '{"topic":"t","decode":true}';
    const found = call("-d", fetch, endpoint, "millrace.broker.v1.FetchService/FetchOnce");
    assert.match(found, /"value": "aGVsbG8="/);
  });
});

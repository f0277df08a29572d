/** Stubs by the guide's commands: no flag but those of the plugins. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { kitDirectory, missing } from "../../tools/languages/fetch.ts";
import { withDirectory } from "../integration/server.ts";
import { copyInto, mustRun, runGuide, withKits } from "./copy.ts";

const services = {
  broker: ["FetchService", "LogService", "ProduceService", "ReplicationService"],
  controller: [
    ...["AdminService", "BrokersService", "MaintenanceService", "RebalanceService"],
    "ReplicaService",
  ],
  group: ["GroupService"],
  metadata: ["MetadataService"],
};

/** A file per service, named as `name` says. */
const filesOf = (name: (part: string, service: string) => string): string[] =>
  Object.entries(services).flatMap(([part, all]) => all.map((one) => name(part, one)));

test("Go's stubs are one module that compiles", { skip: missing("protoc", "go") }, async () => {
  await withDirectory(async (cwd) => {
    copyInto(cwd);
    const env = withKits("protoc", "go");
    runGuide("Go", { cwd, env });
    const go = join(cwd, "examples/go");
    const stubs = join(go, "stubs/millrace.dev/proto/millrace");
    const made = globSync("**/*_grpc.pb.go", { cwd: stubs });
    assert.ok(made.length >= 7, made.join());
    for (const part of [...Object.keys(services), "common", "storage"]) {
      const [file = ""] = globSync(`${part}/v1/*.pb.go`, { cwd: stubs });
      assert.match(readFileSync(join(stubs, file), "utf8"), new RegExp(`^package ${part}v1$`, "m"));
    }
    mustRun(["go", "build", "millrace.dev/proto/millrace/..."], { cwd: go, env });
    mustRun(["go", "vet", "./..."], { cwd: go, env });
    assert.equal(mustRun(["gofmt", "-l", "batches", "consumer", "producer"], { cwd: go }), "");
  });
});

test("Java's messages are a class each, in packages of their own", {
  skip: missing("protoc"),
}, async () => {
  await withDirectory(async (cwd) => {
    copyInto(cwd);
    const files = globSync("proto/**/*.proto", { cwd });
    mustRun(["protoc", "-I", "proto", "--java_out=.", ...files], { cwd, env: withKits("protoc") });
    for (const path of ["broker/v1/ProduceRequest", "common/v1/ErrorCode", "storage/v1/Record"]) {
      const text = readFileSync(join(cwd, `dev/millrace/${path}.java`), "utf8");
      assert.match(text, new RegExp(`^package dev.millrace.${path.split("/")[0]}.v1;$`, "m"));
    }
  });
});

test("Java's stubs compile", { skip: missing("protoc", "java") }, async () => {
  await withDirectory(async (cwd) => {
    copyInto(cwd);
    const env = withKits("protoc", "java");
    runGuide("Java", { cwd, env });
    const wanted = filesOf((part, one) => `dev/millrace/${part}/v1/${one}Grpc.java`);
    const made = globSync("**/*.java", { cwd: join(cwd, "stubs") });
    assert.deepEqual(
      wanted.filter((path) => !made.includes(path)),
      [],
    );
    const jars = join(kitDirectory("java") ?? "", "jars/*");
    // This ends before the virtual machine's second compiler would pay. Before Java 18 javac takes
    // the encoding of the locale.
    const quick = ["-J-XX:TieredStopAtLevel=1", "-proc:none", "-encoding", "UTF-8"];
    const options = [...quick, "-d", "../classes", "-cp", jars];
    mustRun(["javac", ...options, ...made], { cwd: join(cwd, "stubs"), env });
  });
});

test("Python's stubs can be imported", { skip: missing("python") }, async () => {
  await withDirectory(async (cwd) => {
    copyInto(cwd);
    const env = withKits("python");
    runGuide("Python", { cwd, env });
    const files = globSync("**/*_pb2*.py", { cwd: join(cwd, "examples/python/stubs") });
    const names = files.map((path) => path.slice(0, -3).replaceAll("/", "."));
    assert.ok(names.length >= 26, names.join());
    const surroundings = { cwd: join(cwd, "examples/python/stubs"), env };
    mustRun(["python", "-c", names.map((name) => `import ${name}`).join("\n")], surroundings);
  });
});

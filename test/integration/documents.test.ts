/** What machines read of a server and of the command line: metrics, JSON, log lines. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { connect } from "@millrace/client";
import { familiesOf, promlint } from "@millrace/observability/testing";
import { ServerProcess, withDirectory } from "./server.ts";

const main = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));

/** Standard output of a command that ends with 0. */
const outputOf = async (endpoint: string, ...args: string[]): Promise<string> => {
  const env = { ...process.env, MILLRACE_BOOTSTRAP: endpoint };
  const child = spawn(process.execPath, [main, ...args], { env, stdio: ["ignore", "pipe", 2] });
  let out = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  assert.equal(code, 0, args.join(" "));
  return out;
};

/** Keys at any depth that are not snake_case. */
const wrongKeys = (value: unknown): string[] => {
  if (typeof value !== "object" || value === null) return [];
  if (Array.isArray(value)) return value.flatMap(wrongKeys);
  return Object.entries(value).flatMap(([key, inner]) => [
    ...(/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(key) ? [] : [key]),
    ...wrongKeys(inner),
  ]);
};

/** Numbers at any depth with more than three digits behind the point. */
const longNumbers = (value: unknown): number[] => {
  if (typeof value === "number") return Number(value.toFixed(3)) === value ? [] : [value];
  if (typeof value !== "object" || value === null) return [];
  return Object.values(value).flatMap(longNumbers);
};

const checkDocument = (text: string, name: string): void => {
  const document: unknown = JSON.parse(text);
  assert.ok(typeof document === "object", name);
  assert.deepEqual([wrongKeys(document), longNumbers(document)], [[], []], name);
};

test("every JSON document is snake_case, metrics are as Prometheus likes them, and one line says that it is ready", {
  timeout: 120_000,
}, async () => {
  await withDirectory(async (parent) => {
    const directory = join(parent, "data");
    const log = openSync(join(parent, "log"), "w");
    const flags = ["--log-format", "json", "--metrics-partitions-max", "10"];
    const stdio = ["ignore", log, "pipe"] as const;
    const server = new ServerProcess(directory, flags, [], { stdio });
    const endpoints = await server.ready();
    const { client: endpoint, http } = endpoints;
    const client = await connect({ bootstrap: [endpoint] });
    await client.admin.createTopic({ name: "t", partitions: 2 });
    await client.producer().send({ topic: "t", partition: 1, key: "k", value: "v" });
    const offsets = [{ topic: "t", partition: 1, offset: 1 }];
    await client.admin.commitOffsets({ group: "g", offsets });

    const documents = [
      ...["cluster status", "broker list", "broker describe 0", "topic list"],
      ...["topic describe t", "topic reassign t --list"],
      ...["group list", "group describe g", "group reset g t --to earliest --dry-run"],
    ];
    for (const command of documents) {
      checkDocument(await outputOf(endpoint, ...command.split(" "), "--output", "json"), command);
    }
    const read = ["consume", "t", "--until-end", "--from", "earliest", "--format", "json"];
    checkDocument(await outputOf(endpoint, ...read), "consume");
    for (const path of ["/", "/livez", "/readyz", "/configz", "/nothing"]) {
      checkDocument(await (await fetch(`http://${http}${path}`)).text(), path);
    }
    checkDocument(readFileSync(join(directory, "endpoints.json"), "utf8"), "endpoints.json");

    const pageOf = async (): Promise<string> => (await fetch(`http://${http}/metrics`)).text();
    let page = await pageOf();
    // Git is asked which commit this is, beside the start.
    for (let i = 0; i < 100 && !/^millrace_build_info\{/m.test(page); i += 1) {
      await sleep(50);
      page = await pageOf();
    }
    assert.match(page, /^millrace_build_info\{version="[\d.]+",commit="[^"]+",node="[\d.]+"\} 1$/m);
    assert.deepEqual(promlint(page), []);
    assert.ok(familiesOf(page).size > 80, `${familiesOf(page).size} metrics`);
    for (const line of [
      'millrace_broker_topic_produce_records_total{topic="t"} 1',
      'millrace_broker_topic_fetch_records_total{topic="t"} 1',
      'millrace_broker_partition_fetch_records_total{topic="t",partition="1"} 1',
      'millrace_broker_partition_fetch_records_total{topic="t",partition="0"} 0',
    ]) {
      assert.ok(page.includes(`\n${line}\n`), line);
    }
    assert.match(page, /^millrace_log_topic_size_bytes\{topic="t"\} [1-9]/m);

    await client.close();
    assert.equal((await server.kill("SIGTERM")).code, 0);
    closeSync(log);
    const lines = readFileSync(join(parent, "log"), "utf8").trim().split("\n");
    for (const line of lines) checkDocument(line, line);
    const ready = lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === "ready");
    const { start_ms: startMs, client: told, internal, health, http: toldHttp } = ready[0] ?? {};
    assert.equal(ready.length, 1);
    assert.deepEqual({ client: told, internal, health, http: toldHttp }, endpoints);
    assert.ok(Number.isInteger(startMs) && startMs > 0, `${startMs}`);
  });
});

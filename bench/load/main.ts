/**
 * `node bench/load/main.ts OPERATION --endpoint H:P --topic T …`: one load; prints one line of
 * JSON.
 */
import { parseArgs } from "node:util";
import { clientConsume, consume } from "./consume.ts";
import {
  clientProduce,
  endToEnd,
  type LoadOptions,
  one,
  produce,
  type Result,
  rate,
} from "./produce.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    endpoint: { type: "string", default: "127.0.0.1:9464" },
    topic: { type: "string", default: "bench" },
    partitions: { type: "string", default: "1" },
    records: { type: "string", default: "100000" },
    size: { type: "string", default: "1024" },
    batch: { type: "string", default: "131072" },
    clients: { type: "string", default: "1" },
    rate: { type: "string", default: "1000" },
    seconds: { type: "string", default: "10" },
    warmup: { type: "string", default: "3" },
    "no-consumer": { type: "string", default: "0" },
    "any-offset": { type: "string", default: "0" },
    "by-leader": { type: "string", default: "0" },
    idempotence: { type: "string", default: "1" },
    keys: { type: "string", default: "0" },
  },
});

const options: LoadOptions = {
  endpoint: values.endpoint,
  topic: values.topic,
  partitions: Number(values.partitions),
  records: Number(values.records),
  sizeBytes: Number(values.size),
  batchBytes: Number(values.batch),
  clients: Number(values.clients),
  rate: Number(values.rate),
  seconds: Number(values.seconds),
  warmupSeconds: Number(values.warmup),
  consumer: values["no-consumer"] === "0",
  anyOffset: values["any-offset"] !== "0",
  byLeader: values["by-leader"] !== "0",
  idempotence: values.idempotence !== "0",
  keys: Number(values.keys),
};

const operations: Readonly<Record<string, (options: LoadOptions) => Promise<Result>>> = {
  produce,
  "client-produce": clientProduce,
  one,
  "end-to-end": endToEnd,
  rate,
  consume,
  "client-consume": clientConsume,
};

const run = operations[positionals[0] ?? ""];
if (run === undefined) {
  console.error(
    `usage: main.ts ${Object.keys(operations).join("|")} --endpoint HOST:PORT --topic NAME`,
  );
  process.exit(2);
}
const result = await run(options);
console.log(JSON.stringify({ ...result, clientRssMiB: process.memoryUsage().rss / 1024 / 1024 }));
process.exit(0);

// node-client.mjs LIBRARY produce|consume BROKERS TOPIC RECORDS SIZE [KEYS]: a Node client on Kafka; prints one JSON line.
// KEYS: how many different keys the records have; 0, none has one.
// Runs where the libraries are installed: MILLRACE_PEERS/node.
import { createRequire } from "node:module";
import { keyOf } from "../load/keys.ts";

const [library, operation, broker, topic, count, size, different = "0"] = process.argv.slice(2);
const require = createRequire(`${process.env.PEERS_NODE}/`);
const records = Number(count);
const keys = Number(different);
const value = Buffer.alloc(Number(size), "x");
// Those with keys are as large as ours.
const perBatch = keys === 0 ? 500 : 120;
const inFlight = 5;

const timed = async (work) => {
  const cpu = process.cpuUsage();
  const startedMs = performance.now();
  const done = await work();
  const used = process.cpuUsage(cpu);
  const seconds = (performance.now() - (done ?? startedMs)) / 1000;
  const clientCpuSecondsPerMillion = (used.user + used.system) / records;
  console.log(
    JSON.stringify({ records, recordsPerSecond: records / seconds, clientCpuSecondsPerMillion }),
  );
};

/** `inFlight` workers, each awaiting its own batch: `send(FIRST, COUNT)`. */
const pump = async (send, total) => {
  let next = 0;
  const worker = async () => {
    while (next < total) {
      const first = next;
      next = Math.min(total, first + perBatch);
      await send(first, next - first);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
};

const platformatic = async () => {
  const { Producer, ProduceAcks } = await import(require.resolve("@platformatic/kafka"));
  const producer = new Producer({
    clientId: "b",
    bootstrapBrokers: broker.split(","),
    maxInflights: inFlight,
  });
  const message = (i) =>
    keys === 0
      ? { topic, value }
      : { topic, value, key: Buffer.from(keyOf(i, keys)), partition: 0 };
  const send = (first, n) =>
    producer.send({
      acks: ProduceAcks.ALL,
      messages: Array.from({ length: n }, (_, i) => message(first + i)),
    });
  await pump(send, records / 5);
  await timed(() => pump(send, records));
};

const kafkajs = async () => {
  const { Kafka, logLevel } = require("kafkajs");
  const kafka = new Kafka({
    clientId: "b",
    brokers: broker.split(","),
    logLevel: logLevel.NOTHING,
  });
  const consumer = kafka.consumer({ groupId: `g${process.pid}`, maxWaitTimeInMs: 500 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  // Joining the group takes seconds and is not what is compared: time runs from the first batch.
  await timed(
    () =>
      new Promise((resolve) => {
        let seen = 0;
        let firstMs;
        const eachBatch = async ({ batch }) => {
          firstMs ??= performance.now();
          seen += batch.messages.length;
          if (seen >= records) resolve(firstMs);
        };
        void consumer.run({ eachBatchAutoResolve: true, eachBatch });
      }),
  );
};

await (library === "platformatic" && operation === "produce" ? platformatic() : kafkajs());
process.exit(0);

// node-client.mjs LIBRARY produce|consume BROKERS TOPIC RECORDS SIZE: a Node client on Kafka; prints one JSON line.
// Runs where the libraries are installed: MILLRACE_PEERS/node.
import { createRequire } from "node:module";

const [library, operation, broker, topic, count, size] = process.argv.slice(2);
const require = createRequire(`${process.env.PEERS_NODE}/`);
const records = Number(count);
const value = Buffer.alloc(Number(size), "x");
const perBatch = 500;
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

/** `inFlight` workers, each awaiting its own batch. */
const pump = async (send, total) => {
  let left = total;
  const worker = async () => {
    while (left > 0) {
      const now = Math.min(perBatch, left);
      left -= now;
      await send(now);
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
  const send = (n) =>
    producer.send({
      acks: ProduceAcks.ALL,
      messages: Array.from({ length: n }, () => ({ topic, value })),
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

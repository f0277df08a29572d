/** Loads that write. */
import { connect } from "@millrace/client";
import { BatchBuilder } from "@millrace/record";
import { Latencies } from "../lib/stats.ts";
import { keyOf } from "./keys.ts";
import { LeaderStreams, leadersOf, newBuilder, ProduceStream, single } from "./stream.ts";

export interface LoadOptions {
  readonly endpoint: string;
  /** True: bare streams go to the leaders of a cluster. False: all go to `endpoint`. */
  readonly byLeader: boolean;
  readonly topic: string;
  readonly partitions: number;
  readonly records: number;
  readonly sizeBytes: number;
  readonly batchBytes: number;
  readonly clients: number;
  readonly rate: number;
  readonly seconds: number;
  readonly warmupSeconds: number;
  /** False: `rate` reads nothing back. It never does on more than one partition. */
  readonly consumer: boolean;
  /**
   * `consume` takes batches of any offset: the bare transport sends the same ones again and again.
   */
  readonly anyOffset: boolean;
  /** Of the client's producer. */
  readonly idempotence: boolean;
  /** How many different keys the records of `client-produce` have; 0: none has one. */
  readonly keys: number;
}

export type Result = Record<string, number>;

/** Time and CPU of a stretch. */
export const stretch = (): (() => { seconds: number; cpu: number }) => {
  const cpu = process.cpuUsage();
  const startedMs = performance.now();
  return () => {
    const used = process.cpuUsage(cpu);
    return {
      seconds: (performance.now() - startedMs) / 1000,
      cpu: (used.user + used.system) / 1e6,
    };
  };
};

const rates = (
  records: number,
  sizeBytes: number,
  taken: { seconds: number; cpu: number },
): Result => ({
  records,
  seconds: taken.seconds,
  recordsPerSecond: records / taken.seconds,
  mibPerSecond: (records * sizeBytes) / taken.seconds / 1024 / 1024,
  clientCpuSecondsPerMillion: (taken.cpu / records) * 1e6,
});

const endpointsOf = async (options: LoadOptions): Promise<string[]> =>
  options.byLeader ? leadersOf(options.endpoint, options.topic) : [options.endpoint];

/** As fast as it goes over one bare stream for each broker, every record encoded by itself. */
export const produce = async (options: LoadOptions): Promise<Result> => {
  const streams = new LeaderStreams(await endpointsOf(options));
  await streams.opened;
  const builder = new BatchBuilder(options.batchBytes + 64 * 1024);
  const value = Buffer.alloc(options.sizeBytes, "x");
  let partition = 0;
  const run = async (records: number): Promise<void> => {
    for (let sent = 0; sent < records; ) {
      const timestampMs = Date.now();
      while (sent < records && builder.sizeBytes + options.sizeBytes + 16 <= options.batchBytes) {
        builder.append({ value, timestampMs });
        sent += 1;
      }
      await streams.of(partition).send(options.topic, partition, builder.finishPlain());
      builder.reset();
      partition = (partition + 1) % options.partitions;
    }
    await streams.idle();
  };
  await run(Math.ceil(options.records / 5));
  const end = stretch();
  await run(options.records);
  const result = rates(options.records, options.sizeBytes, end());
  streams.close();
  return result;
};

/** As fast as the TypeScript client goes. */
export const clientProduce = async (options: LoadOptions): Promise<Result> => {
  const client = await connect({ bootstrap: options.endpoint.split(",") });
  const { batchBytes, idempotence } = options;
  const producer = client.producer({ batchBytesMax: batchBytes, idempotence });
  const { keys, topic } = options;
  const record = { topic, value: Buffer.alloc(options.sizeBytes, "x") };
  const recordOf = (i: number) => (keys === 0 ? record : { ...record, key: keyOf(i, keys) });
  const run = async (records: number): Promise<void> => {
    for (let i = 0; i < records; i += 1) {
      if (!producer.write(recordOf(i))) await producer.drained();
    }
    await producer.flush();
  };
  await run(Math.ceil(options.records / 5));
  const end = stretch();
  await run(options.records);
  const result = rates(options.records, options.sizeBytes, end());
  await client.close();
  return result;
};

/** Clients with a connection each, every one with a single record in flight. */
export const one = async (options: LoadOptions): Promise<Result> => {
  const latencies = new Latencies();
  const value = Buffer.alloc(options.sizeBytes, "x");
  const each = Math.ceil(options.records / options.clients);
  const warmup = Math.min(1000, Math.ceil(each / 5));
  const endpoints = await endpointsOf(options);
  const endpointOf = (index: number): string =>
    endpoints[(index % options.partitions) % endpoints.length] ?? options.endpoint;
  const streams = Array.from(
    { length: options.clients },
    (_, index) => new ProduceStream(endpointOf(index)),
  );
  await Promise.all(streams.map((stream) => stream.opened));
  const run = async (
    stream: ProduceStream,
    index: number,
    count: number,
    note: boolean,
  ): Promise<void> => {
    const builder = newBuilder();
    for (let i = 0; i < count; i += 1) {
      const startedMs = performance.now();
      await new Promise<void>((resolve) => {
        stream.write(options.topic, index % options.partitions, single(builder, value), resolve);
      });
      if (note) latencies.add(performance.now() - startedMs);
    }
  };
  await Promise.all(streams.map((stream, index) => run(stream, index, warmup, false)));
  const end = stretch();
  await Promise.all(streams.map((stream, index) => run(stream, index, each, true)));
  const result = rates(each * options.clients, options.sizeBytes, end());
  for (const stream of streams) stream.close();
  const acks = (each + warmup) * options.clients;
  return { ...result, acks, ...latencies.summary("") };
};

/**
 * One record at a time from the client's `send` to its consumer, as Kafka's end-to-end tool does.
 */
export const endToEnd = async (options: LoadOptions): Promise<Result> => {
  const client = await connect({ bootstrap: options.endpoint.split(",") });
  const producer = client.producer();
  const consumer = client.consumer();
  await consumer.assign([{ topic: options.topic, partition: 0, from: "latest" }]);
  const batches = consumer.batches();
  const acks = new Latencies();
  const ends = new Latencies();
  const value = Buffer.alloc(options.sizeBytes, "x");
  for (let i = -500; i < options.records; i += 1) {
    const startedMs = performance.now();
    const acked = producer.send({ topic: options.topic, partition: 0, value }).then(() => {
      if (i >= 0) acks.add(performance.now() - startedMs);
    });
    await batches.next();
    if (i >= 0) ends.add(performance.now() - startedMs);
    await acked;
  }
  await client.close();
  return { records: options.records, ...acks.summary("ack"), ...ends.summary("") };
};

/**
 * Open loop: record i is due at i / rate; latencies count from when it was due. Those from when it
 * went out stand beside (`send`), for comparison with tools that know no others.
 */
export const rate = async (options: LoadOptions): Promise<Result> => {
  const client = await connect({ bootstrap: options.endpoint.split(",") });
  const producer = client.producer({ idempotence: options.idempotence });
  const consumer = client.consumer();
  const acks = new Latencies();
  const sends = new Latencies();
  const ends = new Latencies();
  const warmup = options.rate * options.warmupSeconds;
  const total = warmup + options.rate * options.seconds;
  const reads = options.consumer && options.partitions === 1;
  const all = Promise.withResolvers<void>();
  let seen = 0;
  const startMs = performance.now() + 100;
  const dueMs = (i: number): number => startMs + (i * 1000) / options.rate;
  if (reads) {
    await consumer.assign([{ topic: options.topic, partition: 0, from: "latest" }]);
    void (async () => {
      for await (const batch of consumer.batches()) {
        const nowMs = performance.now();
        for (const record of batch.records) {
          const i = Buffer.from(record.value ?? []).readUInt32LE(0);
          if (i >= warmup) ends.add(nowMs - dueMs(i));
          seen += 1;
        }
        if (seen >= total) all.resolve();
      }
    })();
  }
  const acked = Promise.withResolvers<void>();
  let left = total;
  // The client copies what it is given: one buffer does for all, and the load makes no garbage of
  // its own.
  const value = Buffer.alloc(options.sizeBytes, "x");
  const end = stretch();
  for (let i = 0; i < total; ) {
    const nowMs = performance.now();
    for (; i < total && dueMs(i) <= nowMs; i += 1) {
      const index = i;
      value.writeUInt32LE(index, 0);
      void producer
        .send({ topic: options.topic, partition: i % options.partitions, value })
        .then(() => {
          if (index >= warmup) {
            const ackedMs = performance.now();
            acks.add(ackedMs - dueMs(index));
            sends.add(ackedMs - nowMs);
          }
          left -= 1;
          if (left === 0) acked.resolve();
        }, acked.reject);
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await acked.promise;
  if (reads) await all.promise;
  const taken = end();
  await client.close();
  return {
    ...rates(total, options.sizeBytes, taken),
    ...acks.summary("ack"),
    ...sends.summary("send"),
    ...(reads ? ends.summary("end") : {}),
  };
};

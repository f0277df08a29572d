/** A client of a fake broker, for the tests of this package. */
import { afterEach } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { type Client, type ClientOptions, createClient } from "../core/client.ts";
import type { ConsumerOptions } from "../core/types.ts";
import { FakeBroker, testEnv } from "./fake-broker.ts";

const made: { readonly broker: FakeBroker; readonly client: Client }[] = [];

// A test that fails must not leave timers behind that keep its process alive.
afterEach(async () => {
  for (const { broker, client } of made.splice(0)) {
    broker.heal();
    await client.close().catch(() => {});
    broker.watches.cut();
  }
});

export const setUp = (
  partitionCount = 1,
  options: Partial<ClientOptions> = {},
): { broker: FakeBroker; client: Client } => {
  const broker = new FakeBroker(partitionCount);
  const base = { dialer: broker, env: testEnv(), bootstrap: ["fake:1"] };
  const client = createClient({ ...base, ...options });
  made.push({ broker, client });
  return { broker, client };
};

/** The servers have no WatchMetadata: the client asks by GetMetadata. */
export const withoutWatch = (broker: FakeBroker): void => {
  const error = new MillraceError(ErrorCode.UNSUPPORTED_OPERATION, "WatchMetadata is not served");
  broker.watches.fault = () => error;
};

/** One more client, which knows nothing of what the first one knows. */
export const another = (broker: FakeBroker): Client => {
  const client = createClient({ dialer: broker, env: testEnv(), bootstrap: ["fake:1"] });
  made.push({ broker, client });
  return client;
};

/** Waits for something to hold. Throws after five seconds: a test that fails must not hang. */
export const until = async (holds: () => boolean): Promise<void> => {
  const endMs = performance.now() + 5_000;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`does not hold: ${holds}`);
    await sleep(2);
  }
};

export const text = (bytes: Uint8Array | null): string => Buffer.from(bytes ?? []).toString();

/** `name0`, `name1`, … */
export const numbered = (name: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${name}${i}`);

/** Writes the values to a partition as one batch. */
export const writeBatch = async (
  client: Client,
  values: readonly string[],
  partition = 0,
): Promise<void> => {
  const producer = client.producer({ lingerMs: 50 });
  for (const value of values) producer.write({ topic: "events", partition, value });
  await producer.close();
};

/** Values of all records that are there now. */
export const readAll = async (
  client: Client,
  partitions = 1,
  options: ConsumerOptions = {},
): Promise<string[]> => {
  const consumer = client.consumer({ untilEnd: true, ...options });
  await consumer.assign(
    Array.from({ length: partitions }, (_, partition) => ({
      topic: "events",
      partition,
      from: "earliest" as const,
    })),
  );
  const values: string[] = [];
  for await (const record of consumer.records()) values.push(text(record.value));
  await consumer.close();
  return values;
};

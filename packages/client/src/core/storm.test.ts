/** How many requests many clients make together when something moves. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Channel, Dialer } from "@millrace/rpc";
import { FakeBroker, testEnv } from "../testing/fake-broker.ts";
import { type Client, createClient } from "./client.ts";
import type { Producer } from "./producer/producer.ts";

const limit = { timeout: 60_000 };
const clientCount = 500;
const record = { topic: "events", partition: 0, value: "v" };

/** A dialer that counts the calls for metadata, and the streams for records. */
class CountingDialer implements Dialer {
  readonly #broker: FakeBroker;
  metadata = 0;
  streams = 0;

  constructor(broker: FakeBroker) {
    this.#broker = broker;
  }

  dial(endpoint: string): Channel {
    const channel = this.#broker.dial(endpoint);
    return {
      endpoint,
      close: () => channel.close(),
      unary: (method, request, options) => {
        this.metadata += 1;
        return channel.unary(method, request, options);
      },
      serverStream: (method, request, options) => {
        this.metadata += 1;
        return channel.serverStream(method, request, options);
      },
      bidi: (method, options) => {
        this.streams += 1;
        return channel.bidi(method, options);
      },
    };
  }
}

interface One {
  readonly dialer: CountingDialer;
  readonly client: Client;
  readonly producer: Producer;
}

const made: { broker: FakeBroker; all: One[] }[] = [];

afterEach(async () => {
  for (const { broker, all } of made.splice(0)) {
    broker.heal();
    await Promise.allSettled(all.map(({ client }) => client.close()));
    broker.watches.cut();
  }
});

/** Clients that have produced, and are counted from now on. */
const crowd = async (): Promise<{ broker: FakeBroker; all: One[] }> => {
  const broker = new FakeBroker();
  broker.checksLeaders = true;
  const all = Array.from({ length: clientCount }, () => {
    const dialer = new CountingDialer(broker);
    const options = { dialer, env: testEnv(), bootstrap: ["fake:1", "fake:2"] };
    const client = createClient(options);
    return { dialer, client, producer: client.producer() };
  });
  made.push({ broker, all });
  await Promise.all(all.map(({ producer }) => producer.send(record)));
  for (const { dialer } of all) {
    assert.ok(dialer.metadata <= 2, `${dialer.metadata} to begin with`);
    dialer.metadata = 0;
    dialer.streams = 0;
  }
  return { broker, all };
};

const most = (all: readonly One[], of: (dialer: CountingDialer) => number): number =>
  Math.max(...all.map(({ dialer }) => of(dialer)));

test("a leader that moves costs no client more than the stream to the new one", limit, async () => {
  const { broker, all } = await crowd();
  broker.watches.held = true;
  broker.epochs.set(0, 1);
  broker.lead(0, 2);
  // They hear of the move from the old leader, which gives no hint, before the watch tells it.
  const before = broker.requests;
  const sent = Promise.all(all.map(({ producer }) => producer.send(record)));
  await sleep(200);
  assert.ok(broker.requests - before >= clientCount, "all were refused");
  broker.watches.held = false;
  await sent;
  await Promise.all(all.map(({ producer }) => producer.send(record)));
  assert.equal(
    most(all, ({ metadata }) => metadata),
    0,
    "requests for metadata",
  );
  assert.ok(most(all, ({ metadata, streams }) => metadata + streams) <= 2);
});

test(
  "a leader that dies with the watches it served costs two requests at most",
  limit,
  async () => {
    const { broker, all } = await crowd();
    broker.watches.cut("fake:1");
    broker.epochs.set(0, 1);
    broker.lead(0, 2);
    await Promise.all(all.map(({ producer }) => producer.send(record)));
    await sleep(500);
    await Promise.all(all.map(({ producer }) => producer.send(record)));
    assert.ok(most(all, ({ metadata }) => metadata) <= 2);
  },
);

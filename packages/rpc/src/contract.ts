/** The contract of a carrier, run by the test of each carrier. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { ProduceOnceRequestSchema, ProduceService } from "@millrace/proto/broker";
import {
  GetMetadataRequestSchema,
  GetMetadataResponseSchema,
  MetadataService,
  WatchMetadataRequestSchema,
  WatchMetadataResponseSchema,
} from "@millrace/proto/metadata";
import type { WireProduceRequest, WireProduceResponse } from "@millrace/record";
import type { BidiHandler, Channel, Dialer, Listener, RpcServer } from "./api.ts";
import { isConnectionRefused } from "./connection-error.ts";
import { bindService, methodOf } from "./method.ts";
import { produceMethod } from "./stream-methods.ts";

/** A carrier to test. */
export interface Carrier {
  readonly listener: Listener;
  readonly dialer: Dialer;
  /** Address to listen on. */
  readonly address: string;
  /** Runs a test body; the carrier of the simulator drives its clock meanwhile. */
  run(body: () => Promise<void>): Promise<void>;
  sleep(ms: number): Promise<void>;
}

const served = { ...produceMethod, inputBytesMax: 16 * 1024 * 1024 };
const getMetadata = methodOf(MetadataService.method.getMetadata);
const watchMetadata = methodOf(MetadataService.method.watchMetadata);

const request = (requestId: number, bytes = 10): WireProduceRequest => ({
  open: undefined,
  requestId,
  topicId: new Uint8Array(0),
  topic: "t",
  partition: 0,
  leaderEpoch: undefined,
  body: Buffer.alloc(bytes, requestId),
  bodyCrc: undefined,
  orderEpoch: 0,
  expectedEndOffset: undefined,
  expectedLastOffsetForKey: undefined,
});

const response = (requestId: number, windowBytes = 0): WireProduceResponse => ({
  opened: undefined,
  drain: undefined,
  results: [
    {
      requestId,
      baseOffset: undefined,
      appendTimeMs: undefined,
      logStartOffset: undefined,
      guarantee: 0,
      duplicate: false,
      error: undefined,
      windowBytes,
    },
  ],
});

type Produce = BidiHandler<WireProduceRequest, WireProduceResponse>;

const echo: Produce = async (stream) => {
  for (let message = await stream.read(); message !== undefined; message = await stream.read()) {
    const more = stream.write(response(message.requestId, message.body?.length ?? 0));
    if (!more) await stream.drained();
  }
};

const meta = (clusterId: string) => create(GetMetadataResponseSchema, { clusterId });
const leaderEndpoint = { host: "h", port: 1, listener: "", tls: false, authority: "" };
const ask = create(GetMetadataRequestSchema, { topics: ["a"] });

interface Setup {
  readonly channel: Channel;
  readonly server: RpcServer;
}

/** Registers the suite for a carrier. */
export const carrierContract = (name: string, make: () => Carrier): void => {
  const check = (
    what: string,
    body: (setup: Setup, carrier: Carrier) => Promise<void>,
    handlers: { produce?: Produce; get?: (topics: readonly string[]) => Promise<string> } = {},
  ): void => {
    test(`${name}: ${what}`, async () => {
      const carrier = make();
      await carrier.run(async () => {
        const services = [
          bindService(
            ProduceService,
            {
              produce: handlers.produce ?? echo,
              produceOnce: async () => {
                throw new Error("secret");
              },
              initProducerId: () => Promise.reject(new Error("not used")),
            },
            { produce: served },
          ),
          bindService(MetadataService, {
            getMetadata: async ({ topics }) => meta((await handlers.get?.(topics)) ?? "c"),
            watchMetadata: async (wanted, stream) => {
              for (const [i] of wanted.topics.entries()) {
                stream.write(create(WatchMetadataResponseSchema, { revision: BigInt(i) }));
              }
            },
          }),
        ];
        const server = await carrier.listener.listen(carrier.address, services);
        const channel = carrier.dialer.dial(server.endpoint);
        try {
          await body({ channel, server }, carrier);
        } finally {
          channel.close();
          await server.shutdown(0);
        }
      });
    });
  };

  check(
    "unary calls answer, many at once",
    async ({ channel }) => {
      const calls = Array.from({ length: 300 }, () => channel.unary(getMetadata, ask));
      for (const reply of await Promise.all(calls)) assert.equal(reply.clusterId, "a");
    },
    { get: async (topics) => topics.join() },
  );

  check(
    "errors arrive with code, hint, facts and pause",
    async ({ channel }) => {
      await assert.rejects(channel.unary(getMetadata, ask), (thrown) => {
        assert.ok(hasCode(thrown, ErrorCode.NOT_LEADER));
        assert.equal(thrown.message, "elsewhere: go there");
        assert.deepEqual(thrown.leaderHint?.endpoint, leaderEndpoint);
        assert.equal(thrown.leaderHint?.metadataRevision, 7n);
        assert.equal(thrown.retryAfterMs, 1500);
        return true;
      });
    },
    {
      get: async () => {
        throw new MillraceError(ErrorCode.NOT_LEADER, "elsewhere: go there", {
          retryAfterMs: 1500,
          leaderHint: {
            ...{ brokerId: 2, leaderEpoch: 3, metadataRevision: 7n },
            endpoint: leaderEndpoint,
          },
        });
      },
    },
  );

  for (const retriable of [true, false]) {
    const advice = { retriable, refreshMetadata: true, sideEffects: false };
    const future = {
      message: "tomorrow: wait",
      spec: { name: "FROM_THE_FUTURE", grpcCode: 9, ...advice },
    };
    const made = () => new MillraceError(9_999 as ErrorCode, future.message, { spec: future.spec });
    const isFuture = (thrown: unknown): boolean => {
      assert.ok(thrown instanceof MillraceError);
      assert.deepEqual([thrown.message, thrown.spec], [future.message, future.spec]);
      return true;
    };
    const kind = retriable ? "retriable" : "final";
    check(
      `a ${kind} error of a newer server arrives with what it means, from a call`,
      async ({ channel }) => {
        await assert.rejects(channel.unary(getMetadata, ask), isFuture);
      },
      {
        get: async () => {
          throw made();
        },
      },
    );
    check(
      `a ${kind} error of a newer server arrives with what it means, from a stream`,
      async ({ channel }) => {
        const stream = channel.bidi(produceMethod);
        stream.write(request(1));
        await assert.rejects(stream.read(), isFuture);
      },
      {
        produce: async () => {
          throw made();
        },
      },
    );
  }

  check("what is unexpected stays inside", async ({ channel }) => {
    const once = methodOf(ProduceService.method.produceOnce);
    const empty = create(ProduceOnceRequestSchema);
    await assert.rejects(channel.unary(once, empty), (thrown) => {
      assert.ok(hasCode(thrown, ErrorCode.INTERNAL));
      assert.doesNotMatch(thrown.message, /secret/);
      return true;
    });
  });

  check(
    "a deadline ends a unary call",
    async ({ channel }, carrier) => {
      void carrier;
      await assert.rejects(channel.unary(getMetadata, ask, { timeoutMs: 60 }), (thrown) =>
        hasCode(thrown, ErrorCode.DEADLINE_EXCEEDED),
      );
    },
    { get: () => new Promise(() => {}) },
  );

  check(
    "a signal ends a unary call",
    async ({ channel }, carrier) => {
      const controller = new AbortController();
      const call = channel.unary(getMetadata, ask, { signal: controller.signal });
      carrier.sleep(30).then(() => controller.abort());
      await assert.rejects(call, (thrown) => hasCode(thrown, ErrorCode.CANCELLED));
    },
    { get: () => new Promise(() => {}) },
  );

  check("a stream keeps its order and ends", async ({ channel }) => {
    const stream = channel.bidi(produceMethod);
    const writing = (async () => {
      for (let i = 0; i < 500; i += 1) if (!stream.write(request(i, 5000))) await stream.drained();
      stream.end();
    })();
    for (let i = 0; i < 500; i += 1) {
      const reply = await stream.read();
      assert.equal(reply?.results[0]?.requestId, i);
      assert.equal(reply?.results[0]?.windowBytes, 5000);
    }
    assert.equal(await stream.read(), undefined);
    await writing;
  });

  check("large messages pass, too large ones do not", async ({ channel }) => {
    const stream = channel.bidi(produceMethod);
    stream.write(request(1, 8 * 1024 * 1024));
    assert.equal((await stream.read())?.results[0]?.windowBytes, 8 * 1024 * 1024);
    stream.write(request(2, 20 * 1024 * 1024));
    await assert.rejects(stream.read(), (thrown) => hasCode(thrown, ErrorCode.MESSAGE_TOO_LARGE));
  });

  check("server streams deliver and end", async ({ channel }) => {
    const wanted = create(WatchMetadataRequestSchema, { topics: ["a", "b"] });
    const stream = channel.serverStream(watchMetadata, wanted);
    assert.equal((await stream.read())?.revision, 0n);
    assert.equal((await stream.read())?.revision, 1n);
    assert.equal(await stream.read(), undefined);
  });

  let seenAbort: Promise<unknown> = Promise.resolve();
  check(
    "cancelling tells the server",
    async ({ channel }, carrier) => {
      const stream = channel.bidi(produceMethod);
      stream.write(request(1));
      await stream.read();
      stream.cancel();
      await assert.rejects(stream.read(), (thrown) => hasCode(thrown, ErrorCode.CANCELLED));
      assert.ok(hasCode(await seenAbort, ErrorCode.CANCELLED));
      await carrier.sleep(1);
    },
    {
      produce: async (stream) => {
        seenAbort = new Promise((resolve) => {
          const { signal } = stream.context;
          signal.addEventListener("abort", () => resolve(signal.reason));
        });
        await echo(stream);
      },
    },
  );

  check(
    "a server that does not read holds its client back",
    async ({ channel }, carrier) => {
      const stream = channel.bidi(produceMethod);
      let written = 0;
      while (written < 400) {
        if (!stream.write(request(1, 256 * 1024))) break;
        written += 1;
        await carrier.sleep(1);
      }
      assert.ok(written < 400, "100 MiB were taken from a client that nobody listens to");
      stream.cancel();
    },
    {
      produce: (stream) =>
        new Promise((resolve) => stream.context.signal.addEventListener("abort", () => resolve())),
    },
  );

  check(
    "a client that does not read holds its server back",
    async ({ channel }, carrier) => {
      const stream = channel.bidi(produceMethod);
      stream.write(request(1));
      await carrier.sleep(400);
      assert.ok(sent > 0 && sent < 100_000, String(sent));
      stream.cancel();
    },
    {
      produce: async (stream) => {
        sent = 0;
        await stream.read();
        const big = Array.from({ length: 1000 }, (_, i) => response(i).results).flat();
        while (!stream.context.signal.aborted && sent < 100_000) {
          if (!stream.write({ ...response(1), results: big })) await stream.drained();
          sent += 1;
        }
      },
    },
  );
  let sent = 0;

  check(
    "shutdown tells open streams, refuses new calls, and ends",
    async ({ channel, server }) => {
      const stream = channel.bidi(produceMethod);
      stream.write(request(1));
      await stream.read();
      const closing = server.shutdown(5000);
      assert.equal((await stream.read())?.results[0]?.requestId, 99);
      await assert.rejects(channel.unary(getMetadata, ask), (thrown) => {
        return hasCode(thrown, ErrorCode.SHUTTING_DOWN) || hasCode(thrown, ErrorCode.UNAVAILABLE);
      });
      stream.end();
      assert.equal(await stream.read(), undefined);
      await closing;
    },
    {
      produce: async (stream) => {
        stream.context.draining.addEventListener("abort", () => stream.write(response(99)));
        await echo(stream);
      },
    },
  );

  check("a server that is gone is UNAVAILABLE", async ({ channel, server }) => {
    await channel.unary(getMetadata, ask);
    const stream = channel.bidi(produceMethod);
    stream.write(request(1));
    await stream.read();
    await server.shutdown(0);
    await assert.rejects(stream.read(), MillraceError);
    for (let i = 0; i < 5; i += 1) {
      await assert.rejects(channel.unary(getMetadata, ask, { timeoutMs: 3000 }), (thrown) =>
        hasCode(thrown, ErrorCode.UNAVAILABLE),
      );
    }
  });

  check("a refused connection is told apart from other trouble", async ({ channel, server }) => {
    await channel.unary(getMetadata, ask);
    const stream = channel.bidi(produceMethod);
    stream.write(request(1));
    await stream.read();
    await server.shutdown(0);
    await assert.rejects(stream.read(), (thrown) => !isConnectionRefused(thrown));
    await assert.rejects(channel.unary(getMetadata, ask, { timeoutMs: 3000 }), MillraceError);
    await assert.rejects(
      channel.unary(getMetadata, ask, { timeoutMs: 3000 }),
      isConnectionRefused,
      "nothing listens there any more",
    );
  });

  check("closing a channel ends its open streams", async ({ channel }) => {
    const stream = channel.bidi(produceMethod);
    stream.write(request(1));
    await stream.read();
    const reading = stream.read();
    channel.close();
    await assert.rejects(reading, (thrown) => hasCode(thrown, ErrorCode.CANCELLED));
  });

  check(
    "what was written before a shutdown arrives, however slowly it is read",
    async ({ channel, server }, carrier) => {
      const stream = channel.bidi(produceMethod);
      stream.write(request(1));
      let closing: Promise<void> | undefined;
      for (let i = 0; i < 40; i += 1) {
        assert.equal((await stream.read())?.results.length, 10_000, `reply ${i}`);
        // Not before the first reply: a server that stops refuses a stream that is only on its way.
        closing ??= server.shutdown(5000);
        await carrier.sleep(2);
      }
      assert.equal(await stream.read(), undefined);
      await closing;
    },
    {
      produce: async (stream) => {
        await stream.read();
        const { results } = response(1);
        const many = Array.from({ length: 10_000 }, () => results).flat();
        for (let i = 0; i < 40; i += 1) stream.write({ ...response(1), results: many });
      },
    },
  );

  check(
    "what was written before a failure arrives first",
    async ({ channel }) => {
      const stream = channel.bidi(produceMethod);
      stream.write(request(1));
      assert.equal((await stream.read())?.results[0]?.requestId, 5);
      await assert.rejects(stream.read(), (thrown) => hasCode(thrown, ErrorCode.DISK_FULL));
    },
    {
      produce: async (stream) => {
        await stream.read();
        stream.write(response(5));
        throw new MillraceError(ErrorCode.DISK_FULL, "full: free some");
      },
    },
  );
};

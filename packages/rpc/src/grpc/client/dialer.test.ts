/** Connections that are bad in ways that TCP does not show. */
import assert from "node:assert/strict";
import {
  createServer as createHttp2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import {
  GetMetadataRequestSchema,
  GetMetadataResponseSchema,
  MetadataService,
} from "@millrace/proto/metadata";
import { blankProduceRequest } from "@millrace/record";
import type { Channel } from "../../api.ts";
import { bindService, methodOf } from "../../method.ts";
import { produceMethod } from "../../stream-methods.ts";
import { grpcListener } from "../server/server.ts";
import { type GrpcClientOptions, grpcDialer } from "./dialer.ts";

const getMetadata = methodOf(MetadataService.method.getMetadata);
const watchMetadata = methodOf(MetadataService.method.watchMetadata);
const request = create(GetMetadataRequestSchema);

/** What stands between a client and its server. */
interface Middle {
  readonly channel: Channel;
  readonly endpoint: string;
  /** Connections accepted so far. */
  accepted(): number;
  /** While true, new connections are accepted and nothing is forwarded. */
  silent: boolean;
  /** Stops forwarding on the connections of now; new ones work. */
  freeze(): void;
  /** Breaks the connections of now. */
  cut(): void;
}

const withMiddle = async (
  options: GrpcClientOptions,
  body: (middle: Middle) => Promise<void>,
): Promise<void> => {
  const server = await grpcListener().listen("127.0.0.1:0", [
    bindService(MetadataService, {
      getMetadata: async () => create(GetMetadataResponseSchema, { clusterId: "c" }),
      watchMetadata: async (_, stream) => {
        await new Promise((resolve) => stream.context.signal.addEventListener("abort", resolve));
      },
    }),
  ]);
  const port = Number(server.endpoint.split(":").at(-1));
  const sockets: Socket[] = [];
  let accepted = 0;
  const proxy = createServer((near) => {
    accepted += 1;
    sockets.push(near);
    near.on("error", () => {});
    if (middle.silent) {
      near.resume();
      return;
    }
    const far = connect(port, "127.0.0.1");
    sockets.push(far);
    far.on("error", () => {});
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const address = proxy.address();
  assert.ok(typeof address === "object" && address !== null);
  const endpoint = `127.0.0.1:${address.port}`;
  const middle: Middle = {
    channel: grpcDialer(options).dial(endpoint),
    endpoint,
    accepted: () => accepted,
    silent: false,
    freeze: () => {
      for (const socket of sockets) socket.unpipe().pause();
    },
    cut: () => {
      for (const socket of sockets.splice(0)) socket.destroy();
    },
  };
  try {
    await body(middle);
  } finally {
    middle.channel.close();
    proxy.close();
    for (const socket of sockets) socket.destroy();
    await server.shutdown(0);
  }
};

const ask = (channel: Channel, timeoutMs = 5000): Promise<string> =>
  channel.unary(getMetadata, request, { timeoutMs }).then(({ clusterId }) => clusterId);

const limit = { timeout: 20_000 };

test(
  "a connection that is accepted and never answered is given up, and dialed anew",
  limit,
  async () => {
    await withMiddle({ connectTimeoutMs: 300 }, async (middle) => {
      middle.silent = true;
      const startedMs = performance.now();
      await assert.rejects(ask(middle.channel, 10_000), (thrown) => {
        assert.ok(hasCode(thrown, ErrorCode.UNAVAILABLE));
        assert.match(
          thrown.message,
          new RegExp(`${middle.endpoint} did not complete a connection`),
        );
        return true;
      });
      assert.ok(performance.now() - startedMs < 5000);
      middle.silent = false;
      assert.equal(await ask(middle.channel), "c");
      assert.equal(middle.accepted(), 2);
    });
  },
);

test("each connection has its own time to be made", limit, async () => {
  const connectTimeoutMs = 1_000;
  await withMiddle({ connectTimeoutMs }, async (middle) => {
    const firstMs = performance.now();
    assert.equal(await ask(middle.channel), "c");
    await sleep(connectTimeoutMs - 400 - (performance.now() - firstMs));
    middle.silent = true;
    middle.cut();
    await sleep(100);
    const secondMs = performance.now();
    await assert.rejects(ask(middle.channel, 10_000), /did not complete a connection/);
    assert.ok(performance.now() - secondMs > connectTimeoutMs - 100);
  });
});

test("a stream fails too when its connection never answers", limit, async () => {
  await withMiddle({ connectTimeoutMs: 300 }, async (middle) => {
    middle.silent = true;
    const wanted = create(watchMetadata.desc.input);
    const stream = middle.channel.serverStream(watchMetadata, wanted, { timeoutMs: 5000 });
    await assert.rejects(stream.read(), (thrown) => hasCode(thrown, ErrorCode.UNAVAILABLE));
  });
});

test(
  "a connection that freezes later is found by pings, also between short calls",
  limit,
  async () => {
    const options = { keepaliveTimeMs: 300, keepaliveTimeoutMs: 300 };
    await withMiddle(options, async (middle) => {
      assert.equal(await ask(middle.channel), "c");
      middle.freeze();
      await sleep(1000);
      assert.equal(await ask(middle.channel), "c");
      assert.equal(middle.accepted(), 2);
    });
  },
);

test(
  "deadlines that pass without a word from the server make the channel dial anew",
  limit,
  async () => {
    await withMiddle({}, async (middle) => {
      assert.equal(await ask(middle.channel), "c");
      middle.freeze();
      for (let i = 0; i < 3; i += 1) {
        await assert.rejects(ask(middle.channel, 100), (thrown) =>
          hasCode(thrown, ErrorCode.DEADLINE_EXCEEDED),
        );
      }
      assert.equal(await ask(middle.channel), "c");
      assert.equal(middle.accepted(), 2);
    });
  },
);

test("streams that their user gives up for silence make the channel dial anew", limit, async () => {
  await withMiddle({}, async (middle) => {
    assert.equal(await ask(middle.channel), "c");
    middle.freeze();
    for (let i = 0; i < 3; i += 1) {
      const stream = middle.channel.serverStream(watchMetadata, create(watchMetadata.desc.input));
      await sleep(10);
      stream.cancel(new MillraceError(ErrorCode.UNAVAILABLE, "silent"));
      await assert.rejects(stream.read(), (thrown) => hasCode(thrown, ErrorCode.UNAVAILABLE));
    }
    assert.equal(await ask(middle.channel), "c");
  });
});

test("deadlines of slow calls do not cost a connection that works", limit, async () => {
  await withMiddle({}, async (middle) => {
    for (let i = 0; i < 5; i += 1) {
      const slow = middle.channel.unary(watchMetadata, create(watchMetadata.desc.input), {
        timeoutMs: 100,
      });
      const meanwhile = sleep(50).then(() => ask(middle.channel));
      await assert.rejects(slow, (thrown) => hasCode(thrown, ErrorCode.DEADLINE_EXCEEDED));
      assert.equal(await meanwhile, "c");
    }
    assert.equal(middle.accepted(), 1);
  });
});

test("proxy variables of the environment do not lead away from a broker", limit, async () => {
  const names = ["grpc_proxy", "http_proxy", "https_proxy"] as const;
  const before = names.map((name) => process.env[name]);
  for (const name of names) process.env[name] = "http://127.0.0.1:9";
  try {
    await withMiddle({}, async ({ channel }) => assert.equal(await ask(channel), "c"));
  } finally {
    for (const [i, name] of names.entries()) {
      if (before[i] === undefined) delete process.env[name];
      else process.env[name] = before[i];
    }
  }
});

/** What `:authority` a call to a channel has. */
const authorityOf = async (authority: string): Promise<string | undefined> => {
  const server = createHttp2Server();
  const seen = Promise.withResolvers<string | undefined>();
  server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    seen.resolve(headers[":authority"]);
    stream.respond({ ":status": 200, "grpc-status": "12" }, { endStream: true });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const channel = grpcDialer().dial(`127.0.0.1:${port}`, { authority });
  try {
    await assert.rejects(ask(channel));
    return (await seen.promise)?.replace(String(port), "PORT");
  } finally {
    channel.close();
    server.close();
  }
};

test("calls carry the authority of the endpoint, or its host and port", limit, async () => {
  assert.equal(await authorityOf("broker-0.example"), "broker-0.example");
  assert.equal(await authorityOf(""), "127.0.0.1:PORT");
});

test("an endpoint with TLS fails every call with what to do, and throws nothing at once", async () => {
  const channel = grpcDialer().dial("127.0.0.1:1", { tls: true });
  const refused = (thrown: unknown) =>
    hasCode(thrown, ErrorCode.UNSUPPORTED_OPERATION) && /wants TLS/.test(thrown.message);
  await assert.rejects(ask(channel), refused);
  const stream = channel.bidi(produceMethod);
  assert.equal(stream.write(blankProduceRequest), false);
  await stream.drained();
  await assert.rejects(stream.read(), refused);
  channel.close();
});

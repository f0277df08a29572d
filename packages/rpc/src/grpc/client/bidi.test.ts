/** Bidirectional calls of a channel: how they begin, and how they end without their server. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import {
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import {
  type AddressInfo,
  connect as connectTcp,
  createServer as createTcpServer,
  type Socket,
} from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { create } from "@bufbuild/protobuf";
import { Client, credentials } from "@grpc/grpc-js";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { MetadataService } from "@millrace/proto/metadata";
import { blankProduceRequest } from "@millrace/record";
import type { Channel } from "../../api.ts";
import { isConnectionRefused } from "../../connection-error.ts";
import { methodOf } from "../../method.ts";
import { produceMethod } from "../../stream-methods.ts";
import { sessionOf, whenConnected } from "./connection.ts";
import { type GrpcClientOptions, grpcDialer } from "./dialer.ts";

const watchMetadata = methodOf(MetadataService.method.watchMetadata);
const limit = { timeout: 20_000 };

interface Opened {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
}

interface Site {
  readonly port: number;
  readonly channel: Channel;
  readonly sessions: ServerHttp2Session[];
  opened(): Promise<Opened>;
}

const listen = async (server: Http2Server, port = 0): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
};

/** A server that says what its `opened` says, and no more. */
const withServer = async (
  options: GrpcClientOptions,
  run: (site: Site) => Promise<void>,
  authority = "",
): Promise<void> => {
  const server = createServer();
  const sessions: ServerHttp2Session[] = [];
  server.on("session", (session: ServerHttp2Session) => {
    session.on("error", () => {});
    sessions.push(session);
  });
  const port = await listen(server);
  const channel = grpcDialer(options).dial(`127.0.0.1:${port}`, { authority });
  const opened = (): Promise<Opened> =>
    new Promise((resolve) => {
      server.once("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
        stream.on("error", () => {});
        resolve({ stream, headers });
      });
    });
  try {
    await run({ port, channel, sessions, opened });
  } finally {
    channel.close();
    for (const session of sessions) session.destroy();
    server.close();
  }
};

const isUnavailable = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.UNAVAILABLE);

test("grpc-js keeps its connection where it did", limit, async () => {
  await withServer({}, async ({ port }) => {
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    assert.equal(sessionOf(client), undefined, "there is none yet");
    const session = await new Promise<unknown>((resolve) => {
      whenConnected(client, { ready: resolve, failed: () => resolve(undefined) });
    });
    assert.ok(session !== undefined && session === sessionOf(client));
    client.close();
    const closed = await new Promise<boolean>((resolve) => {
      whenConnected(client, { ready: () => resolve(false), failed: resolve });
    });
    assert.ok(closed);
  });
});

test("whoever waits no longer for a connection is not called", limit, async () => {
  await withServer({}, async ({ port }) => {
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    const called: string[] = [];
    const waiter = { ready: () => called.push("ready"), failed: () => called.push("failed") };
    whenConnected(client, waiter)();
    await new Promise<void>((resolve) => {
      whenConnected(client, { ready: () => resolve(), failed: () => {} });
    });
    await sleep(20);
    client.close();
    assert.deepEqual(called, []);
  });
});

test("calls of all kinds share a connection, and say where they go", limit, async () => {
  const metadata = new Map([["millrace-cluster-id", "c1"]]);
  await withServer(
    {},
    async ({ channel, opened, sessions }) => {
      const first = opened();
      channel.serverStream(watchMetadata, create(watchMetadata.desc.input));
      await first;
      const second = opened();
      channel.bidi(produceMethod, { metadata, timeoutMs: 30_000 });
      const { headers } = await second;
      assert.equal(sessions.length, 1);
      assert.equal(headers[":method"], "POST");
      assert.equal(headers[":path"], produceMethod.path);
      assert.equal(headers[":authority"], "broker-0.example");
      assert.equal(headers["content-type"], "application/grpc");
      assert.equal(headers["te"], "trailers");
      assert.equal(headers["millrace-cluster-id"], "c1");
      const leftMs = Number(/^(\d{5})m$/.exec(String(headers["grpc-timeout"]))?.[1]);
      assert.ok(leftMs > 29_000 && leftMs <= 30_000);
      const third = opened();
      const long = channel.bidi(produceMethod, { timeoutMs: 2 ** 32 });
      const { headers: longHeaders, stream } = await third;
      assert.equal(longHeaders["grpc-timeout"], "4294968S");
      await sleep(20);
      assert.equal(stream.closed, false, "no timer can wait that long");
      long.cancel();
    },
    "broker-0.example",
  );
});

test("metadata that no header can carry are refused at once", limit, async () => {
  await withServer({}, async ({ channel }) => {
    for (const pair of [
      ["key", "a\nb"],
      ["k y", "a"],
    ] as const) {
      assert.throws(() => channel.bidi(produceMethod, { metadata: new Map([pair]) }));
    }
  });
});

test(
  "a connection that is refused is told as such; the next call after it works",
  limit,
  async () => {
    const server = createServer();
    const port = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    const channel = grpcDialer().dial(`127.0.0.1:${port}`);
    try {
      // The first waits for the outcome, the second begins when it is known.
      for (const _ of [1, 2]) {
        const stream = channel.bidi(produceMethod);
        await assert.rejects(stream.read(), isConnectionRefused);
        assert.equal(stream.write(blankProduceRequest), false);
      }
      const again = createServer();
      const opened = new Promise<void>((resolve) => again.once("stream", () => resolve()));
      await listen(again, port);
      let began = false;
      void opened.then(() => {
        began = true;
      });
      const failures: unknown[] = [];
      while (!began) {
        channel
          .bidi(produceMethod)
          .read()
          .catch((thrown) => failures.push(thrown));
        await sleep(50);
      }
      assert.ok(failures.every(isConnectionRefused));
      again.close();
    } finally {
      channel.close();
    }
  },
);

test("a call whose connection never answers ends, and the next dials anew", limit, async () => {
  const sockets: Socket[] = [];
  const server = createTcpServer((socket) => sockets.push(socket.on("error", () => {}).resume()));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const channel = grpcDialer({ connectTimeoutMs: 200 }).dial(`127.0.0.1:${port}`);
  try {
    for (const attempt of [1, 2]) {
      const stream = channel.bidi(produceMethod);
      stream.write(blankProduceRequest);
      await assert.rejects(stream.read(), /did not complete a connection within 200 ms/);
      assert.equal(sockets.length, attempt);
    }
  } finally {
    channel.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  }
});

test("a call that waits outlives a connection that ends as it begins", limit, async () => {
  await withServer({}, async ({ opened, port }) => {
    const sockets: Socket[] = [];
    const middle = createTcpServer((near) => {
      sockets.push(near.on("error", () => {}));
      if (sockets.length === 1) {
        const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        const goAway = Buffer.from([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        near.end(Buffer.concat([settings, goAway]));
        return;
      }
      const far = connectTcp(port, "127.0.0.1").on("error", () => {});
      sockets.push(far);
      near.pipe(far).pipe(near);
    });
    await new Promise<void>((resolve) => middle.listen(0, "127.0.0.1", resolve));
    const { port: near } = middle.address() as AddressInfo;
    const channel = grpcDialer().dial(`127.0.0.1:${near}`);
    try {
      const opening = opened().then(({ stream }) => {
        stream.respond({ ":status": 200, "grpc-status": "0" }, { endStream: true });
      });
      assert.equal(await channel.bidi(produceMethod).read(), undefined);
      await opening;
    } finally {
      channel.close();
      middle.close();
      for (const socket of sockets) socket.destroy();
    }
  });
});

test("a connection that freezes, or breaks, ends its calls", limit, async () => {
  await withServer({}, async ({ opened, port }) => {
    const pairs: [Socket, Socket][] = [];
    const middle = createTcpServer((near) => {
      const far = connectTcp(port, "127.0.0.1");
      for (const socket of [near, far]) socket.on("error", () => {});
      near.pipe(far).pipe(near);
      pairs.push([near, far]);
    });
    await new Promise<void>((resolve) => middle.listen(0, "127.0.0.1", resolve));
    const { port: near } = middle.address() as AddressInfo;
    const options = { keepaliveTimeMs: 200, keepaliveTimeoutMs: 200 };
    const channel = grpcDialer(options).dial(`127.0.0.1:${near}`);
    try {
      const first = opened();
      const frozen = channel.bidi(produceMethod);
      await first;
      for (const socket of pairs[0] ?? []) socket.unpipe().pause();
      await assert.rejects(frozen.read(), isUnavailable);
      const second = opened();
      const broken = channel.bidi(produceMethod);
      await second;
      for (const socket of pairs[1] ?? []) socket.destroy();
      await assert.rejects(broken.read(), isUnavailable);
      assert.equal(pairs.length, 2);
    } finally {
      channel.close();
      middle.close();
      for (const socket of pairs.flat()) socket.destroy();
    }
  });
});

test(
  "a deadline, a signal and the end of the channel end a call, begun or not",
  limit,
  async () => {
    await withServer({}, async ({ channel, opened }) => {
      for (const begun of [false, true]) {
        const opening = opened();
        const late = channel.bidi(produceMethod, { timeoutMs: begun ? 100 : 0 });
        if (begun) await opening;
        await assert.rejects(late.read(), (thrown) => hasCode(thrown, ErrorCode.DEADLINE_EXCEEDED));
      }
      const controller = new AbortController();
      const opening = opened();
      const aborted = channel.bidi(produceMethod, { signal: controller.signal });
      const { stream } = await opening;
      const reset = new Promise((resolve) => stream.once("close", resolve));
      controller.abort(MillraceError.refusal(ErrorCode.CANCELLED, "enough"));
      await assert.rejects(aborted.read(), /enough/);
      await reset;
      const last = channel.bidi(produceMethod);
      channel.close();
      await assert.rejects(last.read(), /the channel is closed/);
      assert.throws(() => channel.bidi(produceMethod), /the channel is closed/);
    });
  },
);

test("streams that their user gives up for silence make the channel dial anew", limit, async () => {
  await withServer({}, async ({ channel, opened, sessions }) => {
    const giveUp = async (answers: boolean): Promise<void> => {
      const opening = opened();
      const call = channel.bidi(produceMethod);
      const { stream } = await opening;
      if (answers) stream.respond({ ":status": 200 });
      // An answer counts, and a time after the beginning of the call.
      await sleep(20);
      call.cancel(new MillraceError(ErrorCode.UNAVAILABLE, "silent"));
      await assert.rejects(call.read(), isUnavailable);
    };
    for (const answers of [false, false, true, false, false]) await giveUp(answers);
    assert.equal(sessions.length, 1);
    await giveUp(false);
    await giveUp(false);
    assert.equal(sessions.length, 2);
  });
});

test("a process lives as long as a call is open, and no longer", limit, async () => {
  await withServer({}, async ({ opened, port }) => {
    const dialer = fileURLToPath(new URL("./dialer.ts", import.meta.url));
    const methods = fileURLToPath(new URL("../../stream-methods.ts", import.meta.url));
    const script = `
      import { grpcDialer } from ${JSON.stringify(dialer)};
      import { produceMethod } from ${JSON.stringify(methods)};
      const channel = grpcDialer().dial("127.0.0.1:${port}");
      const stream = channel.bidi(produceMethod);
      await stream.read();
      console.log("ended");`;
    const opening = opened();
    const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
    const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    const { stream } = await opening;
    await sleep(300);
    assert.equal(child.exitCode, null);
    stream.respond({ ":status": 200 }, { waitForTrailers: true });
    stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end();
    assert.equal(await exited, 0);
    assert.equal(output, "ended\n");
  });
});

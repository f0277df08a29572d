import assert from "node:assert/strict";
import { type ClientHttp2Stream, connect, createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import fc from "fast-check";
import { framesOf, MessageSplitter } from "../../http2/framing.ts";
import { readQueueBytesMax } from "../../http2/message-stream.ts";
import { Http2Duplex } from "./duplex.ts";

const framed = (body: Uint8Array): Buffer => {
  const frame = Buffer.alloc(5 + body.length);
  frame.writeUInt32BE(body.length, 1);
  frame.set(body, 5);
  return frame;
};

test("the splitter finds the same messages however the bytes are cut", () => {
  const bodies = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 });
  const cuts = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 });
  fc.assert(
    fc.property(bodies, cuts, (sent, steps) => {
      const wire = Buffer.concat(sent.map(framed));
      const splitter = new MessageSplitter();
      const found: Buffer[] = [];
      for (let at = 0, i = 0; at < wire.length; i += 1) {
        const end = at + (steps[i % steps.length] ?? 1);
        splitter.feed(wire.subarray(at, end), (message) => found.push(message));
        at = end;
      }
      assert.deepEqual(
        found.map((message) => message.toString("hex")),
        sent.map((body) => Buffer.from(body).toString("hex")),
      );
    }),
  );
});

test("frames are the prefix and the pieces, and large pieces are not copied", () => {
  const sizes = fc.constantFrom<number[]>(0, 1, 30, 4096, 4097, 20_000);
  fc.assert(
    fc.property(fc.array(sizes, { maxLength: 8 }), (lengths) => {
      const parts = lengths.map((length, i) => Buffer.alloc(length, i + 1));
      const bytes = lengths.reduce((sum, length) => sum + length, 0);
      const frames = framesOf(parts, bytes);
      assert.deepEqual(Buffer.concat(frames), framed(Buffer.concat(parts)));
      for (const part of parts) assert.equal(frames.includes(part), part.length > 4096);
      assert.ok(frames.every(({ length }) => length > 0));
    }),
  );
});

type Bytes = Http2Duplex<Uint8Array, Uint8Array>;
const raw = { encode: (bytes: Uint8Array) => bytes, decode: (bytes: Uint8Array) => bytes };

/** A client's stream and the server's side of it. */
const withCall = async (
  run: (
    client: ClientHttp2Stream,
    server: Bytes,
    stream: ServerHttp2Stream,
    meter: { consumed: number; queued: number; sent: number },
  ) => Promise<void>,
): Promise<void> => {
  const server = createServer({ settings: { initialWindowSize: 4 * 1024 * 1024 } });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const opened = new Promise<ServerHttp2Stream>((resolve) => server.once("stream", resolve));
  const client = session.request({ ":method": "POST", ":path": "/s/m" });
  client.on("error", () => {});
  try {
    const stream = await opened;
    stream.on("error", () => {});
    const bytes = { consumed: 0, queued: 0, sent: 0 };
    const meter = {
      consumed: (more: number) => {
        bytes.consumed += more;
      },
      queued: (more: number) => {
        bytes.queued += more;
      },
      sent: (more: number) => {
        bytes.sent += more;
      },
    };
    await run(client, new Http2Duplex(stream, raw, raw, meter), stream, bytes);
  } finally {
    session.destroy();
    server.close();
  }
};

/** All that the client receives, and its trailers. */
const received = async (
  client: ClientHttp2Stream,
): Promise<{ body: Buffer; status: Record<string, unknown> }> => {
  const chunks: Buffer[] = [];
  let status: Record<string, unknown> = {};
  client.on("response", (headers) => Object.assign(status, headers));
  client.on("trailers", (headers) => {
    status = { ...status, ...headers };
  });
  client.on("data", (chunk: Buffer) => chunks.push(chunk));
  await new Promise((resolve) => client.once("close", resolve));
  return { body: Buffer.concat(chunks), status };
};

test("messages go both ways, and the call ends behind them", async () => {
  await withCall(async (client, server, _stream, meter) => {
    const all = received(client);
    client.write(framed(Buffer.from("one")));
    client.end(framed(Buffer.alloc(100_000, 2)));
    assert.equal(Buffer.from((await server.read()) ?? []).toString(), "one");
    assert.equal((await server.read())?.length, 100_000);
    assert.equal(await server.read(), undefined);
    assert.ok(server.write(Buffer.from("answer")));
    assert.equal(server.write(Buffer.alloc(2 * 1024 * 1024)), false, "above its byte bound");
    server.finish();
    assert.equal(server.write(Buffer.from("late")), false);
    const { body, status } = await all;
    assert.equal(body.length, 5 + 6 + 5 + 2 * 1024 * 1024);
    assert.equal(status["grpc-status"], "0");
    assert.deepEqual(meter, {
      consumed: 5 + 3 + 5 + 100_000,
      queued: 6 + 2 * 1024 * 1024,
      sent: 6 + 2 * 1024 * 1024,
    });
  });
});

test("an error is a status, with or without messages before it, and only the first counts", async () => {
  for (const messages of [0, 1]) {
    await withCall(async (client, server) => {
      const all = received(client);
      for (let i = 0; i < messages; i += 1) server.write(Buffer.from("x"));
      server.finish(MillraceError.refusal(ErrorCode.INVALID_REQUEST, "schlüssel: no"));
      server.finish();
      client.end();
      const { body, status } = await all;
      assert.equal(body.length, messages * 6);
      assert.equal(status["grpc-status"], "3");
      assert.equal(decodeURIComponent(String(status["grpc-message"])), "schlüssel: no");
      assert.ok(status["grpc-status-details-bin"]);
    });
  }
});

test("a call that nobody reads holds its peer back, and goes on when it is read", async () => {
  await withCall(async (client, server, stream) => {
    client.resume();
    const message = framed(Buffer.alloc(64 * 1024, 1));
    for (let i = 0; i < 100; i += 1) client.write(message);
    client.end();
    const endMs = performance.now() + 3_000;
    while (!stream.isPaused()) {
      assert.ok(performance.now() < endMs, "the server reads on and on");
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (let i = 0; i < 50; i += 1) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(client.writableLength > 0, "not all is sent");
    let count = 0;
    while ((await server.read()) !== undefined) count += 1;
    assert.equal(count, 100);
    assert.ok(readQueueBytesMax < 100 * 64 * 1024);
  });
});

test("empty messages that nobody reads hold their peer back, too", async () => {
  await withCall(async (client, _server, stream) => {
    client.resume();
    client.write(Buffer.alloc(5 * 4_000));
    const endMs = performance.now() + 3_000;
    while (!stream.isPaused()) {
      assert.ok(performance.now() < endMs, "the server reads on and on");
      await new Promise((resolve) => setImmediate(resolve));
    }
  });
});

test("what was received before a failure is still read; then reads reject, and writes do nothing", async () => {
  await withCall(async (client, server) => {
    client.resume();
    client.write(framed(Buffer.from("kept")));
    const first = server.read();
    assert.equal(Buffer.from((await first) ?? []).toString(), "kept");
    const waiting = server.read();
    server.fail(MillraceError.refusal(ErrorCode.CANCELLED, "gone"));
    await assert.rejects(waiting, /gone/);
    await server.drained();
    assert.equal(server.write(Buffer.from("x")), false);
  });
});

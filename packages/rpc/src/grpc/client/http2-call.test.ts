import assert from "node:assert/strict";
import {
  type ClientHttp2Session,
  connect,
  constants,
  createServer,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { framesOf } from "../http2/framing.ts";
import { readQueueBytesMax } from "../http2/message-stream.ts";
import { errorOf } from "../metadata.ts";
import { trailersOf } from "../server/http2/respond.ts";
import { connectionWindowBytes } from "../windows.ts";
import { type Failure, Http2Call } from "./http2-call.ts";

type Bytes = Http2Call<Uint8Array, Uint8Array>;
const raw = { encode: (bytes: Uint8Array) => bytes, decode: (bytes: Uint8Array) => bytes };
const headers = { ":method": "POST", ":path": "/s/m" };
const limit = { timeout: 20_000 };

interface Site {
  readonly session: ClientHttp2Session;
  /** A call that has begun, and the server's stream of it. */
  open(): Promise<{ call: Bytes; stream: ServerHttp2Stream; ends: (Failure | undefined)[] }>;
  make(): { call: Bytes; ends: (Failure | undefined)[]; answers: () => number };
  opened(): Promise<ServerHttp2Stream>;
}

const withServer = async (run: (site: Site) => Promise<void>): Promise<void> => {
  const server = createServer({ streamResetBurst: 5, streamResetRate: 1 });
  const sessions: { destroy(): void }[] = [];
  server.on("session", (session) => sessions.push(session));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // With windows as a channel has them.
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, {
    settings: { initialWindowSize: connectionWindowBytes },
  });
  session.on("error", () => {});
  await new Promise((resolve) => session.once("connect", resolve));
  session.setLocalWindowSize(connectionWindowBytes);
  const opened = async (): Promise<ServerHttp2Stream> => {
    const stream = await new Promise<ServerHttp2Stream>((resolve) => {
      server.once("stream", resolve);
    });
    stream.on("error", () => {});
    return stream;
  };
  const make: Site["make"] = () => {
    const ends: (Failure | undefined)[] = [];
    let answers = 0;
    const call: Bytes = new Http2Call(raw, raw, {
      messageBytesMax: 1024 * 1024,
      sentBytesMax: 2 * 1024 * 1024,
      headers: () => headers,
      onAnswer: () => {
        answers += 1;
      },
      onEnd: (failed) => {
        ends.push(failed);
        if (failed !== undefined) call.fail(errorOf(failed));
      },
    });
    return { call, ends, answers: () => answers };
  };
  const open: Site["open"] = async () => {
    const { call, ends } = make();
    const stream = opened();
    call.begin(session);
    return { call, stream: await stream, ends };
  };
  try {
    await run({ session, open, make, opened });
  } finally {
    session.destroy();
    for (const one of sessions) one.destroy();
    server.close();
  }
};

const frameOf = (message: Uint8Array): Buffer => Buffer.concat(framesOf([message], message.length));

/** Answers with a status behind `messages`. */
const answer = (stream: ServerHttp2Stream, messages: Uint8Array[], error?: MillraceError): void => {
  stream.respond({ ":status": 200 }, { waitForTrailers: true });
  stream.once("wantTrailers", () => stream.sendTrailers(trailersOf(error)));
  for (const message of messages) stream.write(frameOf(message));
  stream.end();
};

const read = async (stream: ServerHttp2Stream, bytes: number): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  let have = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    have += chunk.length;
    if (have >= bytes) break;
  }
  return Buffer.concat(chunks);
};

const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();

test("what is written before there is a connection arrives, in order", limit, async () => {
  await withServer(async ({ make, opened, session }) => {
    const { call } = make();
    assert.ok(call.write(Buffer.from("one")));
    assert.ok(call.write(Buffer.from("two")));
    assert.equal(call.queuedBytes(), 6);
    call.end();
    assert.equal(call.write(Buffer.from("late")), false);
    const stream = opened();
    call.begin(session);
    const all = Buffer.concat([frameOf(Buffer.from("one")), frameOf(Buffer.from("two"))]);
    assert.deepEqual(await read(await stream, Number.POSITIVE_INFINITY), all);
    assert.equal(call.queuedBytes(), 0);
  });
});

test("a writer is told when there is no room, and again when there is", limit, async () => {
  await withServer(async ({ open }) => {
    const { call, stream } = await open();
    const large = Buffer.alloc(1024 * 1024, "a");
    assert.equal(call.write(large), false, "there is no room for a second");
    assert.equal(call.queuedBytes(), large.length);
    const got = await read(stream, 5 + large.length);
    assert.deepEqual(got, frameOf(large));
    await call.drained();
    assert.equal(call.queuedBytes(), 0);
  });
});

test("messages come first, then the end", limit, async () => {
  await withServer(async ({ open }) => {
    const { call, ends, stream } = await open();
    const message = Buffer.alloc(64 * 1024, 7);
    answer(
      stream,
      Array.from({ length: 40 }, () => message),
    );
    assert.ok(40 * message.length > readQueueBytesMax);
    assert.equal((await call.read())?.length, message.length);
    // All has come now. What fits is here, the rest waits, and so does the end.
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.deepEqual(ends, []);
    assert.equal(call.write(message), false, "the server wants nothing more");
    for (let i = 1; i < 40; i += 1) assert.equal((await call.read())?.length, message.length);
    assert.equal(await call.read(), undefined);
    assert.equal(await call.read(), undefined);
    assert.deepEqual(ends, [undefined]);
  });
});

test("an error comes with its details, behind the messages before it", limit, async () => {
  await withServer(async ({ open }) => {
    const refusal = MillraceError.refusal(ErrorCode.INVALID_REQUEST, "schlüssel: no");
    const first = await open();
    answer(first.stream, [Buffer.from("kept")], refusal);
    assert.equal(text(await first.call.read()), "kept");
    await assert.rejects(first.call.read(), (thrown) => {
      assert.ok(hasCode(thrown, ErrorCode.INVALID_REQUEST));
      assert.equal(thrown.message, "schlüssel: no");
      return true;
    });
    assert.equal(first.ends.length, 1);

    const second = await open();
    second.stream.respond({ ":status": 200, ...trailersOf(refusal) }, { endStream: true });
    await assert.rejects(second.call.read(), (thrown) =>
      hasCode(thrown, ErrorCode.INVALID_REQUEST),
    );
  });
});

test("an answer is told once, and a status alone is none", limit, async () => {
  await withServer(async ({ make, opened, session }) => {
    const first = make();
    const opening = opened();
    first.call.begin(session);
    answer(await opening, [Buffer.from("x")]);
    while ((await first.call.read()) !== undefined);
    assert.equal(first.answers(), 1);

    const second = make();
    const alone = opened();
    second.call.begin(session);
    (await alone).respond({ ":status": 200, ...trailersOf() }, { endStream: true });
    assert.equal(await second.call.read(), undefined);
    assert.equal(second.answers(), 0);
  });
});

test("a connection that breaks before all was read does not look like the end", limit, async () => {
  await withServer(async ({ open, session }) => {
    const { call, ends, stream } = await open();
    answer(
      stream,
      Array.from({ length: 40 }, () => Buffer.alloc(64 * 1024, 7)),
    );
    assert.ok(await call.read());
    await new Promise((resolve) => setTimeout(resolve, 100));
    session.destroy();
    await assert.rejects(
      async () => {
        while ((await call.read()) !== undefined);
      },
      (thrown) => hasCode(thrown, ErrorCode.UNAVAILABLE),
    );
    assert.equal(ends.length, 1);
  });
});

test("what ends a call without a status of gRPC has one", limit, async () => {
  await withServer(async ({ open }) => {
    const cases: [string, (stream: ServerHttp2Stream) => void, status][] = [
      ["http 503", (s) => s.respond({ ":status": 503 }, { endStream: true }), status.UNAVAILABLE],
      ["http 404", (s) => s.respond({ ":status": 404 }, { endStream: true }), status.UNIMPLEMENTED],
      ["http 418", (s) => s.respond({ ":status": 418 }, { endStream: true }), status.UNKNOWN],
      [
        "http 502, ended later",
        (s) => {
          s.respond({ ":status": 502 });
          s.end();
        },
        status.UNAVAILABLE,
      ],
      [
        "http 503 with a page",
        (s) => {
          s.respond({ ":status": 503 });
          s.end("<html>come back later</html>");
        },
        status.UNAVAILABLE,
      ],
      [
        "no trailers",
        (s) => {
          s.respond({ ":status": 200 });
          s.end();
        },
        status.INTERNAL,
      ],
      [
        "no number",
        (s) => s.respond({ ":status": 200, "grpc-status": "x" }, { endStream: true }),
        status.INTERNAL,
      ],
      ["refused", (s) => s.close(constants.NGHTTP2_REFUSED_STREAM), status.UNAVAILABLE],
      ["cancelled", (s) => s.close(constants.NGHTTP2_CANCEL), status.CANCELLED],
      ["calm", (s) => s.close(constants.NGHTTP2_ENHANCE_YOUR_CALM), status.RESOURCE_EXHAUSTED],
      ["protocol", (s) => s.close(constants.NGHTTP2_PROTOCOL_ERROR), status.INTERNAL],
      [
        "cancelled behind a goodbye",
        (s) => {
          s.session?.goaway();
          s.close(constants.NGHTTP2_CANCEL);
        },
        status.CANCELLED,
      ],
    ];
    for (const [name, end, code] of cases) {
      const { call, ends, stream } = await open();
      end(stream);
      await assert.rejects(call.read(), MillraceError, name);
      assert.deepEqual(
        ends.map((failed) => failed?.code),
        [code],
        name,
      );
    }
  });
});

for (const [name, end, code] of [
  ["broke", (s: ServerHttp2Stream) => s.session?.destroy(), status.UNAVAILABLE],
  [
    "was ended for what it did",
    (s: ServerHttp2Stream) => s.session?.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM),
    status.RESOURCE_EXHAUSTED,
  ],
] as const) {
  test(`a call whose connection ${name} says so`, limit, async () => {
    await withServer(async ({ open }) => {
      const { call, ends, stream } = await open();
      end(stream);
      await assert.rejects(call.read(), MillraceError);
      assert.deepEqual(
        ends.map((failed) => failed?.code),
        [code],
      );
    });
  });
}

test("the end of a call is no reset, which a server would count", limit, async () => {
  await withServer(async ({ open, session }) => {
    for (let i = 0; i < 30; i += 1) {
      const { call, stream } = await open();
      const refusal = i % 2 === 0 ? undefined : MillraceError.refusal(ErrorCode.NOT_LEADER, "no");
      answer(stream, [], refusal);
      const closed = new Promise((resolve) => stream.once("close", resolve));
      if (refusal === undefined) assert.equal(await call.read(), undefined);
      else await assert.rejects(call.read(), (thrown) => hasCode(thrown, ErrorCode.NOT_LEADER));
      await closed;
    }
    assert.equal(session.destroyed || session.closed, false);
  });
});

test("a message that is too large, or compressed, ends the call at its prefix", limit, async () => {
  await withServer(async ({ open }) => {
    const large = await open();
    large.stream.respond({ ":status": 200 });
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(1024 * 1024 + 1, 1);
    large.stream.write(prefix);
    const reset = new Promise((resolve) => large.stream.once("close", resolve));
    await assert.rejects(large.call.read(), (thrown) =>
      hasCode(thrown, ErrorCode.MESSAGE_TOO_LARGE),
    );
    await reset;
    assert.equal(large.stream.rstCode, constants.NGHTTP2_CANCEL);

    const compressed = await open();
    compressed.stream.respond({ ":status": 200 });
    compressed.stream.write(Buffer.from([1, 0, 0, 0, 1, 0]));
    await assert.rejects(compressed.call.read(), (thrown) =>
      hasCode(thrown, ErrorCode.STREAM_PROTOCOL_VIOLATION),
    );

    const sent = await open();
    assert.equal(sent.call.write(Buffer.alloc(2 * 1024 * 1024 + 1)), false);
    await assert.rejects(sent.call.read(), (thrown) =>
      hasCode(thrown, ErrorCode.MESSAGE_TOO_LARGE),
    );
  });
});

test("a call that failed is reset, and what is still under way is nobody's", limit, async () => {
  await withServer(async ({ make, open, opened, session }) => {
    const { call, ends, stream } = await open();
    stream.respond({ ":status": 200 });
    stream.write(frameOf(Buffer.from("kept")));
    assert.equal(text(await call.read()), "kept");
    const reset = new Promise((resolve) => stream.once("close", resolve));
    const waiting = call.read();
    call.fail(MillraceError.refusal(ErrorCode.CANCELLED, "enough"));
    call.fail(MillraceError.refusal(ErrorCode.INTERNAL, "later"));
    await assert.rejects(waiting, /enough/);
    await reset;
    assert.equal(stream.rstCode, constants.NGHTTP2_CANCEL);
    assert.equal(call.write(Buffer.from("x")), false);
    await call.drained();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual(ends, [], "whoever fails it knows");

    const never = make();
    never.call.write(Buffer.from("x"));
    never.call.fail(MillraceError.refusal(ErrorCode.CANCELLED, "enough"));
    let began = false;
    void opened().then(() => {
      began = true;
    });
    never.call.begin(session);
    await assert.rejects(never.call.read(), /enough/);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(began, false);
  });
});

test("a connection that is gone when the call begins is a failure of the call", limit, async () => {
  await withServer(async ({ make, session }) => {
    session.destroy();
    const { call, ends } = make();
    call.begin(session);
    await assert.rejects(call.read(), (thrown) => hasCode(thrown, ErrorCode.UNAVAILABLE));
    assert.equal(ends.length, 1);
  });
});

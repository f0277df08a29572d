/** Bytes that no client library would send, to every method: a clear error each, and no effect. */
import assert from "node:assert/strict";
import { connect as connectHttp2 } from "node:http2";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { ErrorCode } from "@millrace/errors";
import { FetchService, LogService, ProduceService } from "@millrace/proto/broker";
import { AdminService } from "@millrace/proto/controller";
import { MetadataService } from "@millrace/proto/metadata";
import { produceRequestCodec } from "@millrace/record";
import {
  badInputSite,
  blank,
  bodyOf,
  checkClear,
  field,
  framed,
  open,
  rawCall,
} from "./bad-input.ts";

const site = badInputSite(
  { "t-0": 10n, "t-1": 0n },
  {
    flags: ["--request-timeout", "1s"],
  },
);

const services = [ProduceService, FetchService, LogService, MetadataService, AdminService];
const methods = services.flatMap(({ typeName, methods: all }) =>
  all.map(({ name, methodKind }) => ({
    path: `/${typeName}/${name}`,
    streams: methodKind === "bidi_streaming",
  })),
);
const once = methods.filter(({ streams }) => !streams);
const streams = methods.filter((method) => method.streams);
const nothing = Buffer.alloc(0);
const producePath = "/millrace.broker.v1.ProduceService/Produce";
const oncePath = "/millrace.broker.v1.ProduceService/ProduceOnce";

/** A ProduceOnceRequest that would append. */
const goodOnce = Buffer.concat([field(2, "t"), field(7, field(2, "v"))]);

interface Bad {
  readonly what: string;
  readonly bytes: Uint8Array;
  readonly code: ErrorCode;
  readonly text?: RegExp;
  readonly headers?: Readonly<Record<string, string>>;
  readonly to?: typeof methods;
}

const invalid = ErrorCode.INVALID_REQUEST;
const inputs: readonly Bad[] = [
  {
    what: "a call for another cluster",
    bytes: framed(nothing),
    code: ErrorCode.CLUSTER_ID_MISMATCH,
    text: /^this is cluster \S+, not "another": check the bootstrap address$/,
    headers: { "millrace-cluster-id": "another" },
    to: once,
  },
  { what: "no message", bytes: nothing, code: invalid, text: /send one/, to: once },
  {
    what: "no message",
    bytes: nothing,
    code: ErrorCode.STREAM_PROTOCOL_VIOLATION,
    text: /opening/,
    to: streams,
  },
  { what: "half a prefix", bytes: Buffer.from([0, 0, 0]), code: invalid, text: /whole/ },
  {
    what: "a message that ends too early",
    bytes: framed(Buffer.from("abc"), 5000),
    code: invalid,
    text: /whole/,
  },
  {
    what: "a whole message and half of another",
    bytes: Buffer.concat([framed(goodOnce), framed(goodOnce, 5000)]),
    code: invalid,
    to: once,
  },
  {
    what: "two messages",
    bytes: Buffer.concat([framed(goodOnce), framed(goodOnce)]),
    code: invalid,
    text: /more than one message/,
    to: once,
  },
  {
    what: "an empty message",
    bytes: framed(nothing),
    code: ErrorCode.STREAM_PROTOCOL_VIOLATION,
    to: streams,
  },
  {
    what: "a message of 2 GiB",
    bytes: framed(Buffer.alloc(100), 0x7fffffff),
    code: ErrorCode.MESSAGE_TOO_LARGE,
    text: /of 2,147,483,647 bytes, .* at most \d+ [KM]iB: split it/,
  },
  { what: "text", bytes: framed(Buffer.from("no protobuf, this")), code: invalid, text: /proto/ },
  { what: "ones", bytes: framed(Buffer.alloc(300, 0xff)), code: invalid, text: /proto/ },
  {
    what: "a field that runs past its message",
    bytes: framed(Buffer.from([0x0a, 0x7f, 1])),
    code: invalid,
  },
  { what: "a group", bytes: framed(Buffer.from([0x0b])), code: invalid },
  { what: "field 0", bytes: framed(Buffer.from([0x02, 0x00])), code: invalid },
  {
    what: "a compressed message",
    bytes: framed(gzipSync("x"), undefined, 1),
    code: ErrorCode.UNSUPPORTED_OPERATION,
    headers: { "grpc-encoding": "gzip" },
  },
  {
    what: "a flag that nobody knows",
    bytes: framed(nothing, 0, 7),
    code: ErrorCode.UNSUPPORTED_OPERATION,
  },
  {
    what: "a timeout that is none",
    bytes: framed(nothing),
    code: invalid,
    headers: { "grpc-timeout": "-5 years" },
  },
  {
    what: "headers of 17 KiB",
    bytes: framed(nothing),
    code: ErrorCode.ADMISSION_REJECTED,
    headers: { a: "x".repeat(8500), b: "y".repeat(8500) },
  },
];

for (const { what, bytes, code, text, headers = {}, to = methods } of inputs) {
  test(`${what} is ${ErrorCode[code]}: ${to.length} methods`, { timeout: 30_000 }, async () => {
    for (const { path } of to) {
      const { error } = await rawCall(site, path, bytes, { headers });
      assert.ok(error !== undefined, path);
      checkClear(error, code, text);
    }
  });
}

test("random bytes get an error or an answer from every method, never INTERNAL, and in time", async () => {
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  const clear = new Set([0, 3, 4, 5, 6, 8, 9, 11, 12]);
  for (let i = 0; i < 400; i += 1) {
    const bytes = Buffer.from(Array.from({ length: random(60) }, () => random(256)));
    const { path } = methods[i % methods.length] ?? { path: "" };
    const headers = { "grpc-timeout": "2S" };
    const { status, error } = await rawCall(site, path, framed(bytes), { headers });
    assert.ok(status !== undefined && clear.has(status), `${path}: ${error?.message}`);
  }
});

test("a timeout longer than any timer is none", async () => {
  const headers = { "grpc-timeout": "99999999H" };
  const path = "/millrace.metadata.v1.MetadataService/GetMetadata";
  assert.equal((await rawCall(site, path, framed(nothing), { headers })).status, 0);
});

test("a path that is not served is UNSUPPORTED_OPERATION", async () => {
  for (const path of ["/", "//", "/a/b", "/millrace.broker.v1.ProduceService/", "/тема/x"]) {
    const { error } = await rawCall(site, encodeURI(path), framed(nothing));
    assert.equal(error?.code, ErrorCode.UNSUPPORTED_OPERATION, path);
  }
});

test("silence before, within and after a message is STREAM_PROTOCOL_VIOLATION", {
  timeout: 30_000,
}, async () => {
  const pieces = [nothing, framed(goodOnce).subarray(0, 4), framed(goodOnce, 5000)];
  const ends = pieces.flatMap((bytes) =>
    [producePath, oncePath].map((path) => rawCall(site, path, bytes, { end: false })),
  );
  for (const { error } of await Promise.all(ends))
    checkClear(error, ErrorCode.STREAM_PROTOCOL_VIOLATION, /within \d+ ms: send/);
});

test("a client that dies half-way through a message leaves nothing behind", async () => {
  const opening = framed(produceRequestCodec.encode({ ...blank, open }));
  const batch = framed(produceRequestCodec.encode({ ...blank, body: bodyOf("x".repeat(500)) }));
  const whole = { [producePath]: Buffer.concat([opening, batch]), [oncePath]: framed(goodOnce) };
  for (const [path, bytes] of Object.entries(whole)) {
    for (const part of [0.1, 0.5, 0.9]) {
      const session = connectHttp2(`http://${site.endpoint}`);
      session.on("error", () => {});
      const stream = session.request({
        ":method": "POST",
        ":path": path,
        "content-type": "application/grpc",
        te: "trailers",
      });
      stream.on("error", () => {});
      stream.write(bytes.subarray(0, Math.floor(bytes.length * part)));
      await sleep(30);
      session.destroy();
    }
  }
  await sleep(100);
  assert.deepEqual(await site.ends(), { "t-0": 10n, "t-1": 0n });
});

test("what is refused shows in the metrics, by limit", async () => {
  const text = await (await globalThis.fetch(`http://${site.http}/metrics`)).text();
  for (const limit of ["framing", "encoding", "headers", "message_bytes", "request_timeout"]) {
    const line = new RegExp(
      `^millrace_rpc_refused_total\\{listener="client",limit="${limit}"\\} [1-9]`,
      "m",
    );
    assert.match(text, line);
  }
});

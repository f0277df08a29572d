/** Clients that take what they may: streams without end, and data that they do not read. */
import assert from "node:assert/strict";
import { type ClientHttp2Session, connect as connectHttp2, constants } from "node:http2";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { ErrorCode } from "@millrace/errors";
import { ProduceOnceRequestSchema, ProduceService } from "@millrace/proto/broker";
import { methodOf } from "@millrace/rpc";
import { SeededRandom } from "@millrace/sim";
import { abandonedMax } from "../../packages/rpc/src/grpc/server/admission/admission.ts";
import { frameAttacks } from "../hostile/frames.ts";
import { frame, frameTypes, headerBlock, RawSocket } from "../hostile/wire.ts";
import { badInputSite, checkClear, field, framed, rawOn } from "./bad-input.ts";

const ends = { "big-0": 40n, "t-0": 10n, "t-1": 0n };
// On a busy machine the load of this test alone would have the server refuse for its event loop's
// delay.
const flags = ["--slow-reader-timeout", "1s", "--event-loop-delay-max", "60s"];
const site = badInputSite(ends, { flags, topics: ["big"] });
const produceOnce = methodOf(ProduceService.method.produceOnce);
const fetchPath = "/millrace.broker.v1.FetchService/Fetch";

const withSessions = async (
  count: number,
  run: (sessions: readonly ClientHttp2Session[]) => Promise<void>,
): Promise<void> => {
  const sessions = Array.from({ length: count }, () => {
    const session = connectHttp2(`http://${site.endpoint}`);
    session.on("error", () => {});
    session.setMaxListeners(0);
    return session;
  });
  try {
    await run(sessions);
  } finally {
    for (const session of sessions) session.destroy();
  }
};

const refusals = async (limit: string): Promise<number> => {
  const text = await (await globalThis.fetch(`http://${site.http}/metrics`)).text();
  const line = `millrace_rpc_refused_total{listener="client",limit="${limit}"}`;
  const found = text.split("\n").find((one) => one.startsWith(line));
  return Number(found?.split(" ").at(-1) ?? 0);
};

const openStreams = async (): Promise<number> => {
  const text = await (await globalThis.fetch(`http://${site.http}/metrics`)).text();
  return Number(/^millrace_rpc_streams\{listener="client"\} (\d+)/m.exec(text)?.[1]);
};

test("10,000 streams: those above the bound are ADMISSION_REJECTED, the rest go on", {
  timeout: 60_000,
}, async () => {
  await withSessions(100, async (sessions) => {
    let waiting = 10_000;
    const refused = Promise.withResolvers<void>();
    let count = 0;
    for (const session of sessions) {
      for (let i = 0; i < 100; i += 1) {
        void rawOn(session, fetchPath, framed(field(1, "")), { end: false }).then(({ error }) => {
          if (error === undefined) return;
          checkClear(
            error,
            ErrorCode.ADMISSION_REJECTED,
            /8192 calls of this address are open: end/,
          );
          count += 1;
          waiting -= 1;
          if (waiting === 8192) refused.resolve();
        });
      }
    }
    await refused.promise;
    assert.equal(count, 10_000 - 8192);
    assert.equal(await refusals("streams_per_address"), count);
  });
  for (let i = 0; i < 100 && (await openStreams()) > 10; i += 1) await sleep(100);
  assert.ok((await openStreams()) <= 10, "everything is given back");
});

test("resets without end, and frames that break HTTP/2, close the connection, and are counted", async () => {
  const [host = "", port] = site.endpoint.split(":");
  const target = { host, port: Number(port), topic: "t", patienceMs: 10_000 };
  const bad = ["streams opened and reset at once", "windows that overflow"];
  const before = await refusals("protocol");
  for (const attack of frameAttacks.filter(({ name }) => bad.includes(name))) {
    assert.equal(await attack.run(target, new SeededRandom(1)), "closed", attack.name);
  }
  assert.equal((await refusals("protocol")) - before, bad.length);
});

test("a connection is closed for calls reset before they began, long before HTTP/2's own bound", async () => {
  const [host = "", port] = site.endpoint.split(":");
  const target = { host, port: Number(port), topic: "t", patienceMs: 10_000 };
  const outcomeOf = async (resets: number): Promise<string> => {
    const raw = new RawSocket(target);
    raw.start();
    raw.socket.resume();
    const frames = Array.from({ length: resets }, (_, i) => [
      frame(frameTypes.headers, 4, 2 * i + 1, headerBlock(fetchPath)),
      frame(frameTypes.rst, 0, 2 * i + 1, Buffer.from([0, 0, 0, constants.NGHTTP2_CANCEL])),
    ]);
    await raw.write(Buffer.concat(frames.flat()));
    return raw.outcome(resets > abandonedMax ? target.patienceMs : 300);
  };
  assert.equal(await outcomeOf(abandonedMax), "open");
  assert.equal(await outcomeOf(abandonedMax + 1), "closed");
});

test("clients are told how many streams a connection may have", async () => {
  await withSessions(1, async ([session]) => {
    assert.ok(session !== undefined);
    await new Promise((resolve) => session.once("remoteSettings", resolve));
    assert.equal(session.remoteSettings.maxConcurrentStreams, 100);
  });
});

test("a client that never reads, or a byte per second, is reset, and counted", {
  timeout: 60_000,
}, async () => {
  const value = Buffer.alloc(100_000, 1);
  for (let i = 0; i < 40; i += 1) {
    const request = create(ProduceOnceRequestSchema, { topic: "big", records: [{ value }] });
    await site.channel.unary(produceOnce, request);
  }
  // A busy machine may have kept clients of the tests before from reading in time.
  const before = await refusals("slow_reader");
  const cursor = Buffer.concat([field(1, 1), field(3, "big"), field(8, 2 ** 31)]);
  const opening = framed(Buffer.concat([field(1, ""), field(3, cursor)]));
  await withSessions(2, async (sessions) => {
    const resets = sessions.map(async (session, i) => {
      const stream = session.request({
        ":method": "POST",
        ":path": fetchPath,
        "content-type": "application/grpc",
        te: "trailers",
      });
      stream.on("error", () => {});
      stream.pause();
      stream.write(opening);
      const timer = setInterval(() => i === 1 && stream.read(1), 1000);
      await new Promise((resolve) => stream.once("close", resolve));
      clearInterval(timer);
      return stream.rstCode;
    });
    const calm = constants.NGHTTP2_ENHANCE_YOUR_CALM;
    assert.deepEqual(await Promise.all(resets), [calm, calm]);
  });
  assert.equal((await refusals("slow_reader")) - before, 2);
});

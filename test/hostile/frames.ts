/** Attacks on connections: below gRPC. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Attack } from "./attack.ts";
import {
  frame,
  frameTypes,
  grpcMessage,
  headerBlock,
  type Outcome,
  openCall,
  outcomeOf,
  RawSocket,
  type Target,
  withSession,
} from "./wire.ts";

const producePath = "/millrace.broker.v1.ProduceService/Produce";
const metadataPath = "/millrace.metadata.v1.MetadataService/GetMetadata";
const nothing = Buffer.alloc(0);

/** Sends the same bytes again and again until the server has enough. */
const flood =
  (
    bytes: () => Buffer,
    times: number,
    begin: Buffer = nothing,
  ): ((target: Target) => Promise<Outcome>) =>
  async (target) => {
    const raw = new RawSocket(target);
    raw.start();
    raw.socket.resume();
    await raw.write(begin);
    for (let i = 0; i < times && !raw.over; i += 1) await raw.write(bytes());
    return raw.outcome(target.patienceMs);
  };

const repeated = (one: Buffer, times: number): (() => Buffer) => {
  const all = Buffer.concat(Array.from({ length: times }, () => one));
  return () => all;
};

const headersOf = (streamId: number, flags: number): Buffer =>
  frame(frameTypes.headers, flags, streamId, headerBlock(producePath));

export const frameAttacks: readonly Attack[] = [
  {
    name: "a connection that says nothing",
    expected: ["closed"],
    run: (target) => {
      const raw = new RawSocket(target);
      raw.socket.resume();
      return raw.outcome(target.patienceMs);
    },
  },
  {
    name: "a connection that speaks HTTP/1",
    expected: ["closed"],
    run: async (target) => {
      const raw = new RawSocket(target);
      raw.socket.resume();
      await raw.write(Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
      return raw.outcome(target.patienceMs);
    },
  },
  {
    name: "half a preface",
    expected: ["closed"],
    run: async (target) => {
      const raw = new RawSocket(target);
      raw.socket.resume();
      await raw.write(Buffer.from("PRI * HTTP/2.0\r\n"));
      return raw.outcome(target.patienceMs);
    },
  },
  {
    name: "connections opened and dropped",
    expected: ["done"],
    run: async (target) => {
      for (let i = 0; i < 20; i += 1) {
        const raw = new RawSocket(target);
        if (i % 2 === 0) raw.start();
        await sleep(2);
        raw.socket.resetAndDestroy();
      }
      return "done";
    },
  },
  {
    name: "a flood of pings",
    expected: ["closed"],
    run: flood(repeated(frame(frameTypes.ping, 0, 0, Buffer.alloc(8)), 500), 40),
  },
  {
    name: "a flood of settings",
    expected: ["closed"],
    run: flood(repeated(frame(frameTypes.settings, 0, 0, nothing), 500), 40),
  },
  {
    name: "pings whose answers nobody reads",
    expected: ["closed"],
    run: async (target) => {
      const raw = new RawSocket(target);
      raw.start();
      raw.socket.pause();
      const pings = repeated(frame(frameTypes.ping, 0, 0, Buffer.alloc(8)), 500)();
      for (let i = 0; i < 40 && !raw.over; i += 1) {
        if (!raw.socket.write(pings)) await sleep(5);
      }
      raw.socket.resume();
      return raw.outcome(target.patienceMs);
    },
  },
  {
    name: "headers that never end",
    expected: ["closed"],
    run: flood(
      repeated(frame(frameTypes.continuation, 0, 1, headerBlock(metadataPath)), 100),
      100,
      headersOf(1, 0),
    ),
  },
  {
    name: "a flood of empty data frames",
    expected: ["closed", "open"],
    run: flood(repeated(frame(frameTypes.data, 0, 1, nothing), 1000), 100, headersOf(1, 4)),
  },
  {
    name: "windows that overflow",
    expected: ["closed"],
    run: async (target) => {
      const window = Buffer.alloc(4, 0xff);
      window.writeUInt32BE(0x7fffffff, 0);
      return flood(repeated(frame(frameTypes.windowUpdate, 0, 0, window), 2), 1)(target);
    },
  },
  {
    name: "frames of streams that do not exist",
    expected: ["closed"],
    run: flood(repeated(frame(frameTypes.data, 0, 99, Buffer.alloc(10)), 10), 1),
  },
  {
    name: "a frame longer than allowed",
    expected: ["closed"],
    run: flood(repeated(frame(frameTypes.data, 0, 1, Buffer.alloc(70_000)), 1), 1, headersOf(1, 4)),
  },
  {
    name: "streams opened and reset at once",
    expected: ["closed"],
    run: async (target) => {
      let id = -1;
      const cancel = Buffer.from([0, 0, 0, 8]);
      return flood(() => {
        const frames: Buffer[] = [];
        for (let i = 0; i < 50; i += 1) {
          id += 2;
          frames.push(headersOf(id, 4), frame(frameTypes.rst, 0, id, cancel));
        }
        return Buffer.concat(frames);
      }, 100)(target);
    },
  },
  {
    name: "ten thousand streams on one connection",
    expected: ["closed", "open"],
    run: async (target) => {
      let id = -1;
      return flood(() => {
        const frames: Buffer[] = [];
        for (let i = 0; i < 100; i += 1) {
          id += 2;
          frames.push(headersOf(id, 4));
        }
        return Buffer.concat(frames);
      }, 100)({ ...target, patienceMs: 500 });
    },
  },
  {
    name: "a header of 60 KiB",
    expected: ["status 8", "reset 11", "reset 8", "closed", "goaway 11"],
    run: (target) =>
      withSession(target, async (session) => {
        const stream = openCall(session, metadataPath, { big: "x".repeat(60_000) });
        stream.end(grpcMessage(nothing));
        return outcomeOf(session, stream, target.patienceMs);
      }),
  },
  {
    name: "three hundred headers",
    expected: ["status 8", "reset 11", "reset 8", "closed", "goaway 11"],
    run: (target) =>
      withSession(target, async (session) => {
        const many = Object.fromEntries(
          Array.from({ length: 300 }, (_, i) => [`h${i}`, "x".repeat(100)]),
        );
        const stream = openCall(session, metadataPath, many);
        stream.end(grpcMessage(nothing));
        return outcomeOf(session, stream, target.patienceMs);
      }),
  },
  {
    name: "a client that dies half-way through a message",
    expected: ["gone"],
    run: (target) =>
      withSession(target, async (session) => {
        const stream = openCall(session, producePath);
        stream.write(grpcMessage(Buffer.alloc(100_000, 1), 1_000_000));
        await sleep(20);
        session.destroy();
        return "gone";
      }),
  },
];

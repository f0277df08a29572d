/** Attacks on calls, and the list of all. Each is short, and ends with what the server did. */
import { gzipSync } from "node:zlib";
import { FetchService, LogService, ProduceService } from "@millrace/proto/broker";
import { AdminService } from "@millrace/proto/controller";
import { MetadataService } from "@millrace/proto/metadata";
import {
  BatchBuilder,
  crcOf,
  encodeBody,
  fetchRequestCodec,
  produceRequestCodec,
  type WireProduceRequest,
} from "@millrace/record";
import { produceMethod } from "@millrace/rpc";
import { grpcDialer } from "@millrace/rpc/grpc";
import type { SeededRandom } from "@millrace/sim";
import type { Attack } from "./attack.ts";
import { frameAttacks } from "./frames.ts";
import { grpcMessage, openCall, outcomeOf, withSession } from "./wire.ts";

const services = [ProduceService, FetchService, LogService, MetadataService, AdminService];
/** Paths of all methods. */
export const paths: readonly string[] = services.flatMap(({ typeName, methods }) =>
  methods.map(({ name }) => `/${typeName}/${name}`),
);
const producePath = "/millrace.broker.v1.ProduceService/Produce";
const fetchPath = "/millrace.broker.v1.FetchService/Fetch";
const listPath = "/millrace.broker.v1.LogService/ListOffsets";
const createPath = "/millrace.controller.v1.AdminService/CreateTopic";

const statuses = (...codes: readonly number[]): string[] => codes.map((code) => `status ${code}`);
const anyStatus = statuses(0, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14);

/** One call with these bytes, then the end of the request. */
const send =
  (
    path: (dice: SeededRandom) => string,
    bytes: (dice: SeededRandom) => Buffer,
    headers: Readonly<Record<string, string>> = {},
  ): Attack["run"] =>
  (target, dice) =>
    withSession(target, async (session) => {
      const stream = openCall(session, path(dice), { "grpc-timeout": "2S", ...headers });
      stream.resume();
      stream.end(bytes(dice));
      return outcomeOf(session, stream, target.patienceMs);
    });

/** One call with these bytes, and then silence. */
const hang =
  (path: string, bytes: Buffer, headers: Readonly<Record<string, string>> = {}): Attack["run"] =>
  (target) =>
    withSession(target, async (session) => {
      const stream = openCall(session, path, headers);
      stream.resume();
      if (bytes.length > 0) stream.write(bytes);
      return outcomeOf(session, stream, target.patienceMs);
    });

const noise = (dice: SeededRandom): Buffer =>
  Buffer.from(Array.from({ length: dice.below(300) }, () => dice.below(256)));
const anyPath = (dice: SeededRandom): string => paths[dice.below(paths.length)] ?? producePath;
const fixed =
  <T>(value: T) =>
  () =>
    value;

const bodyOf = (value: string): Buffer => {
  const builder = new BatchBuilder();
  builder.append({ value: Buffer.from(value), timestampMs: Date.now() });
  return Buffer.from(builder.finishPlain());
};

const blank: WireProduceRequest = {
  open: undefined,
  requestId: 1,
  topicId: new Uint8Array(0),
  topic: "",
  partition: 0,
  leaderEpoch: undefined,
  body: undefined,
  bodyCrc: undefined,
  orderEpoch: 0,
  expectedEndOffset: undefined,
  expectedLastOffsetForKey: undefined,
};
const open = { clientId: "hostile", acks: 0, windowBytes: 0, clusterId: "", requiredFeatures: [] };

const info = {
  compression: "none",
  recordCount: 1,
  baseTimestampMs: 1,
  maxTimestampMs: 1,
} as const;
let bomb: Buffer | undefined;
/** 80 MiB of zeros in 80 KB. */
const bombBody = (): Buffer => {
  bomb ??= gzipSync(Buffer.alloc(80 * 1024 * 1024));
  return encodeBody({ ...info, compression: "gzip" }, bomb);
};

const damaged = (dice: SeededRandom): Partial<WireProduceRequest> => {
  const body = bodyOf("x".repeat(dice.below(100)));
  const lie = encodeBody({ ...info, recordCount: 1 + dice.below(1e9) }, body);
  const flipped = Buffer.from(body);
  const at = dice.below(flipped.length);
  flipped[at] = (flipped[at] ?? 0) ^ (1 + dice.below(255));
  const kinds: readonly Partial<WireProduceRequest>[] = [
    { body, bodyCrc: 1 },
    { body: lie, bodyCrc: crcOf(lie) },
    { body: flipped, bodyCrc: crcOf(body) },
    { body: Buffer.alloc(0) },
    { body: noise(dice) },
    { body, partition: 2 ** 31 - 1 },
    { body, topic: "none" },
    { body, topicId: Buffer.alloc(16, 7) },
    { body, topicId: Buffer.alloc(3) },
    { body, leaderEpoch: 0xffffffff },
    { body: body.subarray(0, dice.below(body.length)) },
    { body: encodeBody({ ...info, recordCount: 0 }, Buffer.alloc(0)) },
    { body: encodeBody({ ...info, baseTimestampMs: Number.MAX_SAFE_INTEGER }, body) },
  ];
  return kinds[dice.below(kinds.length)] ?? {};
};

/** Requests on a good stream; every one must get an error of its own. */
const inBand =
  (of: (dice: SeededRandom) => Partial<WireProduceRequest>, count: number): Attack["run"] =>
  async (target, dice) => {
    const channel = grpcDialer().dial(`${target.host}:${target.port}`);
    try {
      const stream = channel.bidi(produceMethod, { timeoutMs: target.patienceMs });
      stream.write({ ...blank, open });
      for (let i = 1; i <= count; i += 1) {
        stream.write({ ...blank, topic: target.topic, partition: 1, requestId: i, ...of(dice) });
      }
      let answers = 0;
      let refused = 0;
      while (answers < count) {
        const message = await stream.read();
        if (message === undefined) return "ended";
        answers += message.results.length;
        refused += message.results.filter(({ error }) => error !== undefined).length;
      }
      stream.cancel();
      return refused === count ? "refused in band" : "appended";
    } catch (thrown) {
      return thrown instanceof Error ? thrown.message.slice(0, 60) : "failed";
    } finally {
      channel.close();
    }
  };

const cursor = (topic: string, more: object) => ({
  ...{ cursorId: 1, topicId: new Uint8Array(0), topic, partition: 0, offset: 0 },
  ...{ leaderEpoch: undefined, lastFetchedEpoch: undefined, grantBytes: 2 ** 31 },
  ...more,
});

const fetchOpening = (topic: string, cursors: readonly object[]): Buffer =>
  grpcMessage(
    fetchRequestCodec.encode({
      open: {
        clientId: "hostile",
        messageBytesMax: 0,
        clusterId: "",
        isolation: 0,
        requiredFeatures: [],
      },
      remove: [],
      add: cursors.map((more) => cursor(topic, more)),
      grants: [],
    }),
  );

const names = [
  ...["", ".", "..", "a/b", "../../etc/passwd", "a\u0000b", "\n", "constructor\u0007"],
  ...["x".repeat(250), "тема", "话题", "a b", "ａ", "-".repeat(300), "%2e%2e", "\ud800"],
];

/** CreateTopicRequest with this name and count, encoded by hand. */
const createTopic = (name: string, partitions: number): Buffer => {
  const text = Buffer.from(name);
  const varint = (value: number): number[] =>
    value < 128 ? [value] : [(value & 127) | 128, ...varint(Math.floor(value / 128))];
  return grpcMessage(
    Buffer.from([0x0a, ...varint(text.length), ...text, 0x10, ...varint(partitions)]),
  );
};

const tinyElements = Buffer.alloc(900_000);
for (let i = 0; i < tinyElements.length; i += 2) tinyElements[i] = 0x0a;

const callAttacks: readonly Attack[] = [
  { name: "no message at all", expected: anyStatus, run: send(anyPath, fixed(Buffer.alloc(0))) },
  {
    name: "an empty message",
    expected: anyStatus,
    run: send(anyPath, fixed(grpcMessage(Buffer.alloc(0)))),
  },
  {
    name: "random bytes for a message",
    expected: anyStatus,
    run: send(anyPath, (dice) => grpcMessage(noise(dice))),
  },
  {
    name: "random bytes for a prefix",
    expected: [...anyStatus, "reset 2", "reset 8"],
    run: send(anyPath, noise),
  },
  {
    name: "a message that ends too early",
    expected: [...anyStatus, "reset 2"],
    run: send(anyPath, (dice) => grpcMessage(noise(dice), 5000)),
  },
  {
    name: "a prefix of 2 GiB",
    expected: statuses(3),
    run: send(anyPath, (dice) => grpcMessage(noise(dice), 0x7fffffff)),
  },
  {
    name: "two megabytes for a method that takes little",
    expected: statuses(3),
    run: send(fixed(listPath), fixed(grpcMessage(Buffer.alloc(2_000_000)))),
  },
  {
    name: "a batch of 17 MiB",
    expected: statuses(3),
    run: send(fixed(producePath), fixed(grpcMessage(Buffer.alloc(17 * 1024 * 1024)))),
  },
  {
    name: "a compressed message",
    expected: statuses(12),
    run: send(anyPath, fixed(grpcMessage(gzipSync(Buffer.alloc(10_000_000)), undefined, 1)), {
      "grpc-encoding": "gzip",
    }),
  },
  {
    name: "half a million empty elements",
    expected: statuses(3),
    run: send(fixed(listPath), fixed(grpcMessage(tinyElements))),
  },
  {
    name: "groups in groups",
    expected: statuses(3),
    run: send(fixed(listPath), fixed(grpcMessage(Buffer.alloc(200_000, 0x0b)))),
  },
  {
    name: "a path that is not served",
    expected: statuses(12),
    run: send(
      (dice) =>
        ["/", "/a/b", "//", `/${"x".repeat(3000)}`, "/millrace.broker.v1.ProduceService/"][
          dice.below(5)
        ] ?? "/",
      fixed(grpcMessage(Buffer.alloc(3))),
    ),
  },
  {
    name: "a content type of another world",
    expected: ["http 415"],
    run: send(anyPath, fixed(grpcMessage(Buffer.alloc(0))), { "content-type": "text/html" }),
  },
  {
    name: "a timeout that is none",
    expected: [...anyStatus],
    run: send(anyPath, fixed(grpcMessage(Buffer.alloc(0))), { "grpc-timeout": "-5 years" }),
  },
  {
    name: "a stream without its opening message",
    expected: statuses(9, 3),
    run: hang(producePath, Buffer.alloc(0)),
  },
  {
    name: "a message that never goes on",
    expected: [...statuses(9, 3), "reset 11"],
    run: hang(listPath, grpcMessage(Buffer.alloc(100), 5000)),
  },
  {
    name: "two openings",
    expected: statuses(9, 3),
    run: hang(
      producePath,
      Buffer.concat([1, 2].map(() => grpcMessage(produceRequestCodec.encode({ ...blank, open })))),
    ),
  },
  {
    name: "a batch without an opening",
    expected: statuses(9, 3),
    run: hang(
      producePath,
      grpcMessage(produceRequestCodec.encode({ ...blank, body: bodyOf("x") })),
    ),
  },
  { name: "batches that lie", expected: ["refused in band"], run: inBand(damaged, 20) },
  {
    name: "a compressed bomb",
    expected: ["refused in band"],
    run: inBand(() => ({ body: bombBody() }), 2),
  },
  {
    name: "fetches of what is not there",
    expected: statuses(0, 3, 9),
    run: (target, dice) =>
      withSession(target, async (session) => {
        const stream = openCall(session, fetchPath);
        stream.resume();
        const cursors = Array.from({ length: 1000 }, (_, cursorId) => ({
          cursorId,
          offset: [1e15, 2 ** 52, 1_000_000, 0][dice.below(4)],
          partition: dice.below(4) * 1000,
          leaderEpoch: dice.below(2) === 0 ? undefined : 4_000_000,
        }));
        stream.end(fetchOpening(dice.below(2) === 0 ? target.topic : "none", cursors));
        return outcomeOf(session, stream, target.patienceMs);
      }),
  },
  {
    name: "names that no topic may have",
    expected: statuses(3),
    run: (target, dice) => {
      const name = names[dice.below(names.length)] ?? "";
      return send(fixed(createPath), fixed(createTopic(name, 1)))(target, dice);
    },
  },
  {
    name: "four billion partitions",
    expected: statuses(3, 8, 9),
    run: send(fixed(createPath), fixed(createTopic("wide", 0xffffffff))),
  },
  {
    name: "a reader that never reads",
    expected: ["reset 11", "closed"],
    run: (target) =>
      withSession(target, async (session) => {
        const stream = openCall(session, fetchPath);
        stream.pause();
        stream.write(fetchOpening(target.topic, [{}]));
        return outcomeOf(session, stream, target.patienceMs);
      }),
  },
  {
    name: "a reader of a byte per second",
    expected: ["reset 11", "closed"],
    run: (target) =>
      withSession(target, async (session) => {
        const stream = openCall(session, fetchPath);
        stream.pause();
        stream.write(fetchOpening(target.topic, [{}]));
        const timer = setInterval(() => stream.read(1), 1000);
        try {
          return await outcomeOf(session, stream, target.patienceMs);
        } finally {
          clearInterval(timer);
        }
      }),
  },
  {
    name: "streams stuffed with messages that never end",
    expected: ["cut"],
    run: (target) =>
      withSession(target, async (session) => {
        const part = grpcMessage(Buffer.alloc(2_000_000), 15_000_000);
        const streams = Array.from({ length: 40 }, () => openCall(session, producePath));
        const ends = streams.map((stream) => outcomeOf(session, stream, target.patienceMs));
        for (const stream of streams) {
          stream.resume();
          stream.write(part);
        }
        const outcome = await Promise.race(ends);
        return outcome === "open" ? "open" : "cut";
      }),
  },
];

/** Every attack. */
export const attacks: readonly Attack[] = [...callAttacks, ...frameAttacks];

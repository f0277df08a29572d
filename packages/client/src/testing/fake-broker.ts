/** One broker in memory behind a `Dialer`, for the tests of this package. */
import { create } from "@bufbuild/protobuf";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  GetMetadataResponseSchema,
  type ListOffsetsRequest,
  ListOffsetsResponseSchema,
  OffsetSpec,
} from "@millrace/proto/broker";
import { Guarantee } from "@millrace/proto/common";
import {
  crcOf,
  encodeStoredPrefix,
  type HotFetchRequest,
  type HotFetchResponse,
  type HotProduceRequest,
  type HotProduceResponse,
  parseBody,
} from "@millrace/record";
import { nodeCompressor } from "@millrace/record/node";
import type { Channel, ClientStream, Dialer, Method } from "@millrace/rpc";
import type { ClientEnv } from "../core/client.ts";

/** What a real environment gives, without logs. */
export const testEnv = (): ClientEnv => ({
  clock: nodeClock(),
  random: nodeRandom(),
  compressor: nodeCompressor,
  logger: { debug() {}, info() {}, warn() {}, error() {}, child: () => testEnv().logger },
});

/** The client's side of a stream whose server is a function. */
class FakeStream<Out, In> implements ClientStream<Out, In> {
  readonly #onWrite: (message: Out) => void;
  readonly #queue: In[] = [];
  #wake: (() => void) | undefined;
  #error: unknown;
  over = false;

  constructor(onWrite: (message: Out) => void) {
    this.#onWrite = onWrite;
  }

  push(message: In): void {
    if (this.over) return;
    this.#queue.push(message);
    this.#wake?.();
  }

  tryRead(): In | undefined {
    return this.#queue.shift();
  }

  async read(): Promise<In | undefined> {
    for (;;) {
      if (this.#error !== undefined) throw this.#error;
      const next = this.#queue.shift();
      if (next !== undefined || this.over) return next;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  write(message: Out): boolean {
    if (this.over) return false;
    setImmediate(() => {
      if (!this.over) this.#onWrite(message);
    });
    return true;
  }

  async drained(): Promise<void> {}

  queuedBytes(): number {
    return 0;
  }

  end(): void {
    this.over = true;
    this.#wake?.();
  }

  cancel(reason?: unknown): void {
    this.#error ??= reason ?? new MillraceError(ErrorCode.CANCELLED, "cancelled");
    this.end();
  }
}

interface Stored {
  readonly baseOffset: number;
  readonly count: number;
  readonly maxTimestampMs: number;
  readonly bytes: Buffer;
}

interface FakeCursor {
  readonly partition: number;
  readonly stream: FakeStream<HotFetchRequest, HotFetchResponse>;
  readonly cursorId: number;
  offset: number;
  grantBytes: number;
}

const blank: HotFetchResponse = {
  opened: undefined,
  cursorId: undefined,
  highWatermark: undefined,
  logStartOffset: undefined,
  lastStableOffset: undefined,
  leaderEpoch: undefined,
  nextOffset: undefined,
  error: undefined,
  drain: undefined,
  batches: [],
};

/** A broker with one topic, `events`. */
export class FakeBroker implements Dialer {
  readonly logs: Stored[][];
  windowBytes = 16 * 1024 * 1024;
  /** Most body bytes that were unanswered at once. */
  peakInFlightBytes = 0;
  requests = 0;
  streams = 0;
  /** Answers are held back while true. */
  hold = false;
  /** Per produce request: an error to answer, "reset" to cut the stream after the append, or nothing. */
  fault: (requestNumber: number) => ErrorCode | "reset" | undefined = () => undefined;
  #held: (() => void)[] = [];
  readonly #drains = new Set<() => void>();
  #attempts = 0;
  readonly #failedEpochs = new WeakMap<object, Map<number, number>>();
  #inFlightBytes = 0;
  readonly #cursors = new Set<FakeCursor>();

  constructor(partitionCount = 1) {
    this.logs = Array.from({ length: partitionCount }, () => []);
  }

  dial(endpoint: string): Channel {
    return {
      endpoint,
      unary: async <I, O>(method: Method<I, O>, request: I): Promise<O> =>
        this.#unary(method.path, request) as O,
      serverStream: () => {
        throw new Error("not served");
      },
      bidi: <I, O>(method: Method<I, O>): ClientStream<I, O> => {
        this.streams += 1;
        const stream = method.path.endsWith("/Produce") ? this.#produce() : this.#fetch();
        return stream as unknown as ClientStream<I, O>;
      },
      close() {},
    };
  }

  endOf(partition: number): number {
    const last = this.logs[partition]?.at(-1);
    return last === undefined ? 0 : last.baseOffset + last.count;
  }

  /** Answers what was held. */
  release(): void {
    this.hold = false;
    for (const answer of this.#held.splice(0)) answer();
  }

  /** Tells every stream of now that the server is stopping. */
  drain(): void {
    for (const tell of this.#drains) tell();
    this.#drains.clear();
  }

  #unary(path: string, request: unknown): unknown {
    if (path.endsWith("/GetMetadata")) {
      const partitions = this.logs.map((_, partition) => ({ partition, leader: 1, replicas: [1] }));
      return create(GetMetadataResponseSchema, {
        clusterId: "fake",
        revision: 1n,
        brokers: [{ brokerId: 1, endpoint: "fake:1" }],
        topics: [{ name: "events", topicId: new Uint8Array(16).fill(7), partitions }],
      });
    }
    if (path.endsWith("/ListOffsets")) {
      const { queries } = request as ListOffsetsRequest;
      return create(ListOffsetsResponseSchema, {
        results: queries.map(({ partition, spec, timestampMs }) => {
          if (spec === OffsetSpec.EARLIEST) return { offset: 0n };
          if (spec !== OffsetSpec.TIMESTAMP) return { offset: BigInt(this.endOf(partition)) };
          const found = this.logs[partition]?.find((b) => b.maxTimestampMs >= Number(timestampMs));
          return found === undefined ? {} : { offset: BigInt(found.baseOffset), timestampMs };
        }),
      });
    }
    throw new MillraceError(ErrorCode.UNSUPPORTED_OPERATION, path);
  }

  #produce(): FakeStream<HotProduceRequest, HotProduceResponse> {
    const stream = new FakeStream<HotProduceRequest, HotProduceResponse>((message) => {
      if (message.open !== undefined) {
        const { windowBytes } = this;
        const opened = { windowBytes, messageBytesMax: 8e6, clusterId: "fake", brokerId: 1 };
        stream.push({ opened, results: [], drain: undefined });
      } else this.#append(stream, message);
    });
    const notice = { graceMs: 1000, reason: "stopping" };
    this.#drains.add(() => stream.push({ opened: undefined, results: [], drain: notice }));
    return stream;
  }

  #append(
    stream: FakeStream<HotProduceRequest, HotProduceResponse>,
    request: HotProduceRequest,
  ): void {
    const body = request.body ?? new Uint8Array(0);
    this.requests += 1;
    this.#inFlightBytes += body.length;
    this.peakInFlightBytes = Math.max(this.peakInFlightBytes, this.#inFlightBytes);
    // Only what might be appended counts: else faults could keep step with repetitions, for ever.
    const overtaking = this.#overtaking(stream, request);
    if (overtaking === undefined) this.#attempts += 1;
    const fault = overtaking ?? this.fault(this.#attempts);
    const failed = fault !== undefined && fault !== "reset";
    const baseOffset = this.endOf(request.partition);
    if (!failed) this.#store(request.partition, baseOffset, body);
    else {
      const epochs = this.#failedEpochs.get(stream) ?? new Map<number, number>();
      this.#failedEpochs.set(stream, epochs.set(request.partition, request.orderEpoch));
    }
    const answer = (): void => {
      this.#inFlightBytes -= body.length;
      if (fault === "reset") {
        stream.cancel(new MillraceError(ErrorCode.UNAVAILABLE, "the connection broke"));
        return;
      }
      const error = failed
        ? { code: fault, message: "injected", leaderHint: undefined, retryAfterMs: undefined }
        : undefined;
      const result = {
        requestId: request.requestId,
        baseOffset: failed ? undefined : baseOffset,
        appendTimeMs: undefined,
        logStartOffset: 0,
        guarantee: Guarantee.FSYNCED_QUORUM,
        duplicate: false,
        error,
        windowBytes: body.length,
      };
      stream.push({ opened: undefined, results: [result], drain: undefined });
    };
    if (this.hold) this.#held.push(answer);
    else answer();
  }

  /** What a broker does about order: see ProduceRequest.order_epoch. */
  #overtaking(stream: object, request: HotProduceRequest): ErrorCode | undefined {
    const failed = this.#failedEpochs.get(stream)?.get(request.partition) ?? 0;
    return request.orderEpoch <= failed ? ErrorCode.PRECEDING_REQUEST_FAILED : undefined;
  }

  #store(partition: number, baseOffset: number, body: Uint8Array): void {
    const info = parseBody(body);
    const fields = { baseOffset, leaderEpoch: 0, appendTimeMs: 1, bodyCrc: crcOf(body) };
    this.logs[partition]?.push({
      baseOffset,
      count: info.recordCount,
      maxTimestampMs: info.maxTimestampMs,
      bytes: Buffer.concat([encodeStoredPrefix(fields, body.length), body]),
    });
    for (const cursor of this.#cursors) this.#serve(cursor);
  }

  #fetch(): FakeStream<HotFetchRequest, HotFetchResponse> {
    const mine = new Map<number, FakeCursor>();
    const stream = new FakeStream<HotFetchRequest, HotFetchResponse>((request) => {
      if (request.open !== undefined) {
        const opened = { heartbeatIntervalMs: 0, clusterId: "fake", brokerId: 1, cursorsMax: 9 };
        stream.push({ ...blank, opened });
      }
      for (const id of request.remove) {
        const cursor = mine.get(id);
        if (cursor !== undefined) this.#cursors.delete(cursor);
        mine.delete(id);
      }
      for (const { cursorId, partition, offset, grantBytes } of request.add) {
        const cursor = { partition, stream, cursorId, offset, grantBytes };
        mine.set(cursorId, cursor);
        this.#cursors.add(cursor);
        this.#serve(cursor);
      }
      for (const { cursorId, bytes } of request.grants) {
        const cursor = mine.get(cursorId);
        if (cursor === undefined) continue;
        cursor.grantBytes += bytes;
        this.#serve(cursor);
      }
    });
    const notice = { graceMs: 1000, reason: "stopping" };
    this.#drains.add(() => stream.push({ ...blank, drain: notice }));
    return stream;
  }

  #serve(cursor: FakeCursor): void {
    const end = this.endOf(cursor.partition);
    if (cursor.offset > end) {
      const error = { code: ErrorCode.OFFSET_OUT_OF_RANGE, message: "past the end" };
      this.#cursors.delete(cursor);
      cursor.stream.push({
        ...blank,
        cursorId: cursor.cursorId,
        error: { ...error, leaderHint: undefined, retryAfterMs: undefined },
      });
      return;
    }
    for (const batch of this.logs[cursor.partition] ?? []) {
      const nextOffset = batch.baseOffset + batch.count;
      if (nextOffset <= cursor.offset) continue;
      if (cursor.grantBytes <= 0) return;
      cursor.grantBytes = Math.max(0, cursor.grantBytes - batch.bytes.length);
      cursor.offset = nextOffset;
      cursor.stream.push({
        ...blank,
        cursorId: cursor.cursorId,
        highWatermark: end,
        leaderEpoch: 0,
        nextOffset,
        batches: [batch.bytes],
      });
    }
  }
}

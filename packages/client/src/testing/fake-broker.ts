/** Brokers in memory behind a `Dialer`, for the tests of this package. */
import { create } from "@bufbuild/protobuf";
import {
  type Endpoint,
  type ErrorAdvice,
  ErrorCode,
  errorSpec,
  MillraceError,
} from "@millrace/errors";
import {
  type DeleteRecordsRequest,
  DeleteRecordsResponseSchema,
  InitProducerIdResponseSchema,
  type ListOffsetsRequest,
  ListOffsetsResponseSchema,
  OffsetSpec,
} from "@millrace/proto/broker";
import { Guarantee } from "@millrace/proto/common";
import { CreateTopicResponseSchema } from "@millrace/proto/controller";
import {
  type GetMetadataRequest,
  type GetMetadataResponse,
  GetMetadataResponseSchema,
  type WatchMetadataRequest,
} from "@millrace/proto/metadata";
import {
  type BodyInfo,
  blankFetchResponse,
  crcOf,
  encodeStoredPrefix,
  parseBody,
  type WireFetchCursor,
  type WireFetchRequest,
  type WireFetchResponse,
  type WireLeaderHint,
  type WirePartitionError,
  type WireProduceRequest,
  type WireProduceResponse,
} from "@millrace/record";
import type {
  CallOptions,
  Channel,
  ClientStream,
  Dialer,
  DialOptions,
  Method,
} from "@millrace/rpc";
import { silence } from "./fake-env.ts";
import { FakeProducers } from "./fake-producers.ts";
import { FakeStream } from "./fake-stream.ts";
import { FakeWatches } from "./fake-watch.ts";

export { fastClock, testEnv } from "./fake-env.ts";

interface Stored {
  readonly baseOffset: number;
  readonly count: number;
  readonly maxTimestampMs: number;
  readonly bytes: Buffer;
}

interface FakeCursor {
  readonly endpoint: string;
  readonly partition: number;
  readonly stream: FakeStream<WireFetchRequest, WireFetchResponse>;
  readonly cursorId: number;
  offset: number;
  grantBytes: number;
}

/** A produce request as it arrived. */
export interface SeenRequest {
  readonly endpoint: string;
  readonly partition: number;
  readonly orderEpoch: number;
  readonly info: BodyInfo;
}

const unknownTopic = {
  code: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
  message: "no such topic or partition",
};

/** One or two brokers with one topic, `events`. */
export class FakeBroker implements Dialer {
  logs: Stored[][];
  topicId = new Uint8Array(16).fill(7);
  /** Names of topics that the metadata show besides, with one partition each. */
  others: readonly string[] = [];
  /** False: the metadata do not show the topic. */
  exists = true;
  /** Broker that leads each partition; 1 when absent. Broker n is at `fake:n`. */
  readonly leaders = new Map<number, number>();
  /** First offset of each partition; 0 when absent. */
  readonly starts = new Map<number, number>();
  producers = new FakeProducers();
  windowBytes = 16 * 1024 * 1024;
  messageBytesMax = 8e6;
  /** Larger bodies are refused with MESSAGE_TOO_LARGE. */
  bodyBytesMax = Number.POSITIVE_INFINITY;
  /** Time that unary calls take, milliseconds. */
  latencyMs = 0;
  /** How much faster the clock of the client is; see `fastClock`. */
  factor = 1;
  /** Endpoints that never answer. */
  readonly silent = new Set<string>();
  /** What was dialed, in order. */
  readonly dialed: { readonly endpoint: string; readonly options: DialOptions }[] = [];
  /** What the metadata say about the endpoint of every broker besides host and port. */
  endpointParts: Partial<Endpoint> = {};
  /** What comes with every error in a message, instead of what its code says. */
  advice: ErrorAdvice | undefined;
  /** An error for a unary call, by its path. */
  callFault: (path: string) => MillraceError | undefined = () => undefined;
  /** Port of the controller that the metadata name; undefined: none. */
  controllerAt: number | undefined;
  /** Comes with injected produce faults. */
  leaderHint: WireLeaderHint | undefined;
  /** Endpoints of GetMetadata calls, in order. */
  readonly asked: string[] = [];
  readonly seen: SeenRequest[] = [];
  /** What each opening of a produce stream required, in order. */
  readonly required: string[] = [];
  /** Knows no feature that an opening may require. */
  isOld = false;
  /** Most body bytes that were unanswered at once. */
  peakInFlightBytes = 0;
  /** Bytes that fetch cursors were granted in all. */
  grantedBytes = 0;
  streams = 0;
  /** Answers are held back while true; of refusals only unless `refusesAtOnce`, as brokers do. */
  hold = false;
  refusesAtOnce = false;
  /**
   * Per produce request: an error to answer, "reset" to cut the stream after the append, "lost" to
   * cut it instead, "uncertain" to answer UNAVAILABLE after the append, or nothing.
   */
  fault: (requestNumber: number) => ErrorCode | "reset" | "lost" | "uncertain" | undefined = () =>
    undefined;
  /** Per cursor added: an error to answer instead of records. */
  fetchFault: (partition: number) => ErrorCode | undefined = () => undefined;
  /** Of the metadata. */
  revision = 1n;
  /** Of the metadata. */
  generation = new Uint8Array(16).fill(1);
  clusterId = "fake";
  /** What CreateTopic answers. */
  createdRevision = 0n;
  /** Leader epoch of each partition; 0 when absent. */
  readonly epochs = new Map<number, number>();
  /** Brokers that the metadata list. */
  listed = [1, 2];
  /** The cluster that each call names, but for those of records. */
  readonly clusterIds: (string | undefined)[] = [];
  /** Cursors as clients added them, in order. */
  readonly added: WireFetchCursor[] = [];
  /** Offsets of DeleteRecords, in order; nothing is deleted. */
  readonly deletedBefore: (bigint | undefined)[] = [];
  /** Requests for metadata, in order. */
  readonly metadataRequests: GetMetadataRequest[] = [];
  /** What fetch streams state; there are no heartbeats. */
  fetchHeartbeatMs = 0;
  /** True: a broker refuses produce requests for partitions that it does not lead. */
  checksLeaders = false;
  /** WatchMetadata. */
  readonly watches = new FakeWatches({
    metadata: (topics) => this.#told(topics),
    isSilent: (endpoint) => this.silent.has(endpoint),
  });
  #held: (() => void)[] = [];
  readonly #drains = new Set<() => void>();
  #produceStreams: { cancel(error: MillraceError): void }[] = [];
  #attempts = 0;
  #failedEpochs = new WeakMap<object, Map<number, number>>();
  #inFlightBytes = 0;
  readonly #cursors = new Set<FakeCursor>();

  constructor(partitionCount = 1) {
    this.logs = Array.from({ length: partitionCount }, () => []);
  }

  dial(endpoint: string, options: DialOptions = {}): Channel {
    this.dialed.push({ endpoint, options });
    return {
      endpoint,
      unary: async <I, O>(
        method: Method<I, O>,
        request: I,
        options: CallOptions = {},
      ): Promise<O> => (await this.#unary(endpoint, method.path, request, options)) as O,
      serverStream: <I, O>(
        _: Method<I, O>,
        request: I,
        { metadata }: CallOptions = {},
      ): ClientStream<never, O> => {
        this.clusterIds.push(metadata?.get("millrace-cluster-id"));
        const stream = this.watches.begin(endpoint, request as unknown as WatchMetadataRequest);
        return stream as unknown as ClientStream<never, O>;
      },
      bidi: <I, O>(method: Method<I, O>): ClientStream<I, O> => {
        this.streams += 1;
        const stream = method.path.endsWith("/Produce")
          ? this.#produce(endpoint)
          : this.#fetch(endpoint);
        return stream as unknown as ClientStream<I, O>;
      },
      close() {},
    };
  }

  /** Produce requests so far. */
  get requests(): number {
    return this.seen.length;
  }

  addPartitions(count: number): void {
    for (let i = 0; i < count; i += 1) this.logs.push([]);
    this.revision += 1n;
  }

  /** Deletes the topic and makes it again. */
  recreate(partitionCount = 1): void {
    this.topicId = new Uint8Array(16).fill((this.topicId[0] ?? 0) + 1);
    this.logs = Array.from({ length: partitionCount }, () => []);
    this.starts.clear();
    this.revision += 1n;
    for (const cursor of this.#cursors) this.#failCursor(cursor, unknownTopic);
    this.#cursors.clear();
  }

  /** Takes batches off the end of a partition, as an unclean election does. */
  truncate(partition: number, batches: number): void {
    this.logs[partition]?.splice(-batches);
    this.producers.cut(this.endOf(partition));
  }

  lead(partition: number, broker: number): void {
    this.leaders.set(partition, broker);
    this.revision += 1n;
  }

  #wireError(code: ErrorCode, message: string, end?: number, last?: number): WirePartitionError {
    const { retriable, refreshMetadata, sideEffects } = this.advice ?? errorSpec(code);
    const advice = { retriable, refreshMetadata, sideEffects };
    const actualEndOffset = code === ErrorCode.END_OFFSET_MISMATCH ? end : undefined;
    return {
      code,
      message,
      leaderHint: undefined,
      retryAfterMs: undefined,
      actualEndOffset,
      actualLastOffsetForKey: code === ErrorCode.LAST_OFFSET_MISMATCH ? last : undefined,
      ...advice,
    };
  }

  #failCursor(cursor: FakeCursor, error: { code: ErrorCode; message: string }): void {
    cursor.stream.push({
      ...blankFetchResponse,
      cursorId: cursor.cursorId,
      error: this.#wireError(error.code, error.message),
    });
  }

  endOf(partition: number): number {
    const last = this.logs[partition]?.at(-1);
    return last === undefined ? 0 : last.baseOffset + last.count;
  }

  startOf(partition: number): number {
    return this.starts.get(partition) ?? 0;
  }

  /** Answers what was held. */
  release(): void {
    this.hold = false;
    for (const answer of this.#held.splice(0)) answer();
  }

  /** Answers the oldest request of those that are held. */
  releaseOne(): void {
    this.#held.shift()?.();
  }

  /** Produce streams break, and the answers that were held are lost. */
  cutProduce(): void {
    this.#held = [];
    this.hold = false;
    const error = new MillraceError(ErrorCode.UNAVAILABLE, "the connection broke");
    for (const stream of this.#produceStreams.splice(0)) stream.cancel(error);
  }

  /** Ends all faults. */
  heal(): void {
    this.fault = () => undefined;
    this.fetchFault = () => undefined;
    this.callFault = () => undefined;
    this.watches.fault = () => undefined;
    this.silent.clear();
    this.exists = true;
    this.bodyBytesMax = Number.POSITIVE_INFINITY;
    this.#failedEpochs = new WeakMap();
    this.release();
  }

  /** Tells every open stream that the server is stopping. */
  drain(): void {
    for (const tell of this.#drains) tell();
    this.#drains.clear();
  }

  async #unary(
    endpoint: string,
    path: string,
    request: unknown,
    { signal, timeoutMs, metadata }: CallOptions,
  ): Promise<unknown> {
    this.clusterIds.push(metadata?.get("millrace-cluster-id"));
    if (path.endsWith("/GetMetadata")) this.asked.push(endpoint);
    if (this.latencyMs > 0) await new Promise((resolve) => setTimeout(resolve, this.latencyMs));
    if (this.silent.has(endpoint)) await silence(signal, timeoutMs, this.factor);
    const fault = this.callFault(path);
    if (fault !== undefined) throw fault;
    if (path.endsWith("/GetMetadata")) return this.#metadata(request as GetMetadataRequest);
    if (path.endsWith("/ListOffsets")) return this.#listOffsets(request as ListOffsetsRequest);
    if (path.endsWith("/DeleteRecords")) {
      const { partitions } = request as DeleteRecordsRequest;
      this.deletedBefore.push(...partitions.map(({ beforeOffset }) => beforeOffset));
      return create(DeleteRecordsResponseSchema, { results: partitions.map(() => ({})) });
    }
    if (path.endsWith("/InitProducerId")) {
      const producerId = BigInt(this.producers.nextId);
      this.producers.nextId += 1;
      return create(InitProducerIdResponseSchema, { producerId });
    }
    if (path.endsWith("/CreateTopic")) {
      return create(CreateTopicResponseSchema, { revision: this.createdRevision });
    }
    throw new MillraceError(ErrorCode.UNSUPPORTED_OPERATION, path);
  }

  #metadata(request: GetMetadataRequest): unknown {
    this.metadataRequests.push(request);
    const { topics, minRevision } = request;
    const isSame = Buffer.compare(request.generation, this.generation) === 0;
    if (isSame && minRevision > this.revision) {
      throw new MillraceError(ErrorCode.METADATA_STALE, `revision ${this.revision}`);
    }
    return this.#told(topics);
  }

  /** The metadata as they are now. */
  #told(topics: readonly string[]): GetMetadataResponse {
    const partitions = this.logs.map((_, partition) => ({
      partition,
      leader: this.leaders.get(partition) ?? 1,
      leaderEpoch: this.epochs.get(partition) ?? 0,
    }));
    const shown = this.exists && topics.includes("events");
    const others = this.others
      .filter((name) => topics.includes(name))
      .map((name) => ({ name, topicId: Buffer.alloc(16, name), partitions: [{ leader: 1 }] }));
    return create(GetMetadataResponseSchema, {
      clusterId: this.clusterId,
      generation: this.generation,
      revision: this.revision,
      ...(this.controllerAt === undefined
        ? {}
        : { controller: { host: "fake", port: this.controllerAt } }),
      brokers: this.listed.map((brokerId) => ({
        brokerId,
        endpoint: { host: "fake", port: brokerId, ...this.endpointParts },
      })),
      topics: [
        ...(shown ? [{ name: "events", topicId: this.topicId, partitions }] : []),
        ...others,
      ],
    });
  }

  #listOffsets({ queries }: ListOffsetsRequest): unknown {
    return create(ListOffsetsResponseSchema, {
      results: queries.map(({ topicId, partition, spec, timestampMs }) => {
        if (!this.#has(topicId, partition)) return { error: unknownTopic };
        if (spec === OffsetSpec.EARLIEST) return { offset: BigInt(this.startOf(partition)) };
        if (spec !== OffsetSpec.TIMESTAMP) return { offset: BigInt(this.endOf(partition)) };
        const found = this.logs[partition]?.find((b) => b.maxTimestampMs >= Number(timestampMs));
        return found === undefined ? {} : { offset: BigInt(found.baseOffset), timestampMs };
      }),
    });
  }

  #has(topicId: Uint8Array, partition: number): boolean {
    return Buffer.compare(topicId, this.topicId) === 0 && this.logs[partition] !== undefined;
  }

  #produce(endpoint: string): FakeStream<WireProduceRequest, WireProduceResponse> {
    const stream = new FakeStream<WireProduceRequest, WireProduceResponse>((message) => {
      if (this.silent.has(endpoint)) return;
      if (message.open !== undefined) {
        this.required.push(message.open.requiredFeatures.join());
        if (this.isOld && message.open.requiredFeatures.length > 0) {
          stream.cancel(new MillraceError(ErrorCode.UNSUPPORTED_OPERATION, "no such feature"));
          return;
        }
        const { windowBytes, messageBytesMax } = this;
        const opened = {
          windowBytes,
          messageBytesMax,
          clusterId: "fake",
          brokerId: 1,
          featureLevel: 1,
          producerBatches: this.producers.batchesKept,
        };
        stream.push({ opened, results: [], drain: undefined });
      } else this.#append(stream, endpoint, message);
    });
    this.#produceStreams.push(stream);
    const notice = { graceMs: 1000, reason: "stopping" };
    this.#drains.add(() => stream.push({ opened: undefined, results: [], drain: notice }));
    return stream;
  }

  #append(
    stream: FakeStream<WireProduceRequest, WireProduceResponse>,
    endpoint: string,
    request: WireProduceRequest,
  ): void {
    const body = request.body ?? new Uint8Array(0);
    const { partition, orderEpoch } = request;
    const info = parseBody(body);
    this.seen.push({ endpoint, partition, orderEpoch, info });
    this.#inFlightBytes += body.length;
    this.peakInFlightBytes = Math.max(this.peakInFlightBytes, this.#inFlightBytes);
    // Count only requests that may be appended: otherwise a periodic fault could hit every retry.
    const overtaking = this.#overtaking(stream, request);
    if (overtaking === undefined) this.#attempts += 1;
    const refusal = overtaking ?? this.#refusal(request, body, endpoint);
    const end = this.endOf(partition);
    const last = this.producers.lastOffset(partition, info);
    const judged = refusal ? undefined : this.producers.judge(partition, info, request, end);
    const wrong = judged !== undefined && "refusal" in judged ? judged.refusal : undefined;
    const fault = refusal ?? wrong ?? this.fault(this.#attempts);
    const stored = fault === undefined || fault === "reset" || fault === "uncertain";
    const code = fault === "uncertain" ? ErrorCode.UNAVAILABLE : fault;
    const duplicateOf =
      judged !== undefined && "duplicateOf" in judged ? judged.duplicateOf : undefined;
    const baseOffset = duplicateOf ?? end;
    if (stored && duplicateOf === undefined) {
      this.#store(partition, baseOffset, body);
      this.producers.record(partition, info, baseOffset);
    }
    if (code !== undefined && code !== "reset") {
      const epochs = this.#failedEpochs.get(stream) ?? new Map<number, number>();
      this.#failedEpochs.set(stream, epochs.set(request.partition, request.orderEpoch));
    }
    const answer = (): void => {
      this.#inFlightBytes -= body.length;
      if (code === "reset" || code === "lost") {
        stream.cancel(new MillraceError(ErrorCode.UNAVAILABLE, "the connection broke"));
        return;
      }
      const error =
        code === undefined
          ? undefined
          : { ...this.#wireError(code, "injected", end, last), leaderHint: this.leaderHint };
      const result = {
        requestId: request.requestId,
        baseOffset: error === undefined ? baseOffset : undefined,
        appendTimeMs: undefined,
        logStartOffset: 0,
        guarantee: Guarantee.FSYNCED_QUORUM,
        duplicate: duplicateOf !== undefined,
        error,
        windowBytes: body.length,
      };
      stream.push({ opened: undefined, results: [result], drain: undefined });
    };
    const isRefusal = code !== undefined && !["reset", "lost", "uncertain"].includes(String(fault));
    if (this.hold && !(this.refusesAtOnce && isRefusal)) this.#held.push(answer);
    else answer();
  }

  #refusal(
    { partition, topicId }: WireProduceRequest,
    body: Uint8Array,
    endpoint: string,
  ): ErrorCode | undefined {
    const leads = endpoint === `fake:${this.leaders.get(partition) ?? 1}`;
    if (this.checksLeaders && !leads) return ErrorCode.NOT_LEADER;
    if (!this.#has(topicId, partition)) return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION;
    return body.length > this.bodyBytesMax ? ErrorCode.MESSAGE_TOO_LARGE : undefined;
  }

  /** Keeps order as a broker does; see ProduceRequest.order_epoch. */
  #overtaking(stream: object, request: WireProduceRequest): ErrorCode | undefined {
    const failed = this.#failedEpochs.get(stream)?.get(request.partition) ?? 0;
    return request.orderEpoch <= failed ? ErrorCode.PRECEDING_REQUEST_FAILED : undefined;
  }

  #store(partition: number, baseOffset: number, body: Uint8Array): void {
    const info = parseBody(body);
    const leaderEpoch = this.epochs.get(partition) ?? 0;
    const fields = { baseOffset, leaderEpoch, appendTimeMs: 1, bodyCrc: crcOf(body) };
    this.logs[partition]?.push({
      baseOffset,
      count: info.recordCount,
      maxTimestampMs: info.maxTimestampMs,
      bytes: Buffer.concat([encodeStoredPrefix(fields, body.length), body]),
    });
    for (const cursor of this.#cursors) this.#serve(cursor);
  }

  #fetch(endpoint: string): FakeStream<WireFetchRequest, WireFetchResponse> {
    const mine = new Map<number, FakeCursor>();
    const stream = new FakeStream<WireFetchRequest, WireFetchResponse>((request) => {
      if (this.silent.has(endpoint)) return;
      if (request.open !== undefined) {
        const opened = {
          heartbeatIntervalMs: this.fetchHeartbeatMs,
          clusterId: "fake",
          brokerId: 1,
          cursorsMax: 9,
          featureLevel: 1,
        };
        stream.push({ ...blankFetchResponse, opened });
      }
      for (const id of request.remove) {
        const cursor = mine.get(id);
        if (cursor !== undefined) this.#cursors.delete(cursor);
        mine.delete(id);
      }
      for (const added of request.add) {
        const { cursorId, topicId, partition, offset, grantBytes } = added;
        this.added.push(added);
        this.grantedBytes += grantBytes;
        const cursor = { endpoint, partition, stream, cursorId, offset, grantBytes };
        const fault = this.fetchFault(partition);
        const error = fault === undefined ? unknownTopic : { code: fault, message: "injected" };
        if (fault !== undefined || !this.#has(topicId, partition)) {
          this.#failCursor(cursor, error);
          continue;
        }
        mine.set(cursorId, cursor);
        this.#cursors.add(cursor);
        this.#serve(cursor);
      }
      for (const { cursorId, bytes } of request.grants) {
        const cursor = mine.get(cursorId);
        this.grantedBytes += bytes;
        if (cursor === undefined) continue;
        cursor.grantBytes += bytes;
        this.#serve(cursor);
      }
    });
    const notice = { graceMs: 1000, reason: "stopping" };
    this.#drains.add(() => stream.push({ ...blankFetchResponse, drain: notice }));
    return stream;
  }

  #serve(cursor: FakeCursor): void {
    if (this.silent.has(cursor.endpoint)) return;
    const end = this.endOf(cursor.partition);
    if (cursor.offset > end || cursor.offset < this.startOf(cursor.partition)) {
      this.#cursors.delete(cursor);
      this.#failCursor(cursor, {
        code: ErrorCode.OFFSET_OUT_OF_RANGE,
        message: `offset ${cursor.offset} is not in the log`,
      });
      return;
    }
    if (cursor.offset === end) {
      cursor.stream.push({ ...blankFetchResponse, cursorId: cursor.cursorId, highWatermark: end });
    }
    for (const batch of this.logs[cursor.partition] ?? []) {
      const nextOffset = batch.baseOffset + batch.count;
      if (nextOffset <= cursor.offset) continue;
      if (cursor.grantBytes <= 0) return;
      cursor.grantBytes = Math.max(0, cursor.grantBytes - batch.bytes.length);
      cursor.offset = nextOffset;
      cursor.stream.push({
        ...blankFetchResponse,
        cursorId: cursor.cursorId,
        highWatermark: end,
        leaderEpoch: this.epochs.get(cursor.partition) ?? 0,
        nextOffset,
        batches: [batch.bytes],
      });
    }
  }
}

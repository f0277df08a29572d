/** WatchMetadata of the fake brokers: tells what changed in what they answer to GetMetadata. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type GetMetadataResponse,
  type Partition,
  type Topic,
  type WatchMetadataRequest,
  type WatchMetadataResponse,
  WatchMetadataResponseSchema,
} from "@millrace/proto/metadata";
import { FakeStream } from "./fake-stream.ts";

/** Fields of a message. */
type News = MessageInitShape<typeof WatchMetadataResponseSchema>;

/** Pause between two looks at what changed, milliseconds. */
const lookMs = 5;

interface Watcher {
  readonly endpoint: string;
  readonly request: WatchMetadataRequest;
  readonly stream: FakeStream<never, WatchMetadataResponse>;
  /** What the client knows; undefined before the first message. */
  told: GetMetadataResponse | undefined;
  toldMs: number;
}

export interface Watched {
  /** What GetMetadata would answer now. */
  metadata(topics: readonly string[]): GetMetadataResponse;
  /** True: the server says nothing. */
  isSilent(endpoint: string): boolean;
}

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const sameText = (a: unknown, b: unknown): boolean =>
  JSON.stringify(a, bigints) === JSON.stringify(b, bigints);
const bigints = (_: string, value: unknown): unknown =>
  typeof value === "bigint" ? String(value) : value;

export class FakeWatches {
  readonly #watched: Watched;
  readonly #watchers = new Set<Watcher>();
  /** Topics, generation and revision to what was told of them. */
  readonly #history = new Map<string, GetMetadataResponse>();
  /** Every request, in order. */
  readonly requests: { readonly endpoint: string; readonly request: WatchMetadataRequest }[] = [];
  /** An error for a request. */
  fault: (endpoint: string) => MillraceError | undefined = () => undefined;
  /** What the first message states. */
  heartbeatIntervalMs = 5_000;
  /** True: nothing is told, not even to begin with. */
  muted = false;
  /** True: streams that are open tell nothing of changes. */
  held = false;
  /** How often heartbeats come; absent: as stated. */
  beatMs: number | undefined;
  readonly #latest = new Map<string, { look: number; metadata: GetMetadataResponse }>();
  #looks = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(watched: Watched) {
    this.#watched = watched;
  }

  /** Streams that are open now. */
  get open(): number {
    return [...this.#watchers].filter(({ stream }) => !stream.over).length;
  }

  /** Forgets what changed: whoever comes back gets a snapshot. */
  forget(): void {
    this.#history.clear();
  }

  /** Breaks all streams, or those to one server. */
  cut(endpoint?: string): void {
    for (const watcher of this.#watchers) {
      if (endpoint !== undefined && endpoint !== watcher.endpoint) continue;
      watcher.stream.cancel(new MillraceError(ErrorCode.UNAVAILABLE, "the connection broke"));
    }
  }

  /** Sends a message to everybody, whatever the truth is. */
  tell(fields: News): void {
    const message = create(WatchMetadataResponseSchema, fields);
    for (const { stream } of this.#watchers) stream.push(message);
  }

  begin(endpoint: string, request: WatchMetadataRequest): FakeStream<never, WatchMetadataResponse> {
    this.requests.push({ endpoint, request });
    const stream = new FakeStream<never, WatchMetadataResponse>(() => {});
    const fault = this.fault(endpoint);
    if (fault !== undefined) {
      setImmediate(() => stream.cancel(fault));
      return stream;
    }
    this.#watchers.add({ endpoint, request, stream, told: undefined, toldMs: 0 });
    setImmediate(() => this.#look());
    this.#timer ??= setInterval(() => this.#look(), lookMs);
    return stream;
  }

  #look(): void {
    this.#looks += 1;
    for (const watcher of this.#watchers) {
      if (watcher.stream.over) this.#watchers.delete(watcher);
      else if (!this.muted && !this.#watched.isSilent(watcher.endpoint)) this.#serve(watcher);
    }
    if (this.#watchers.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** The same object for all watchers while nothing changes: there may be many. */
  #now(topics: readonly string[]): GetMetadataResponse {
    const key = topics.join();
    const shared = this.#latest.get(key);
    if (shared?.look === this.#looks) return shared.metadata;
    const metadata = this.#watched.metadata(topics);
    const isSame = shared !== undefined && sameText(shared.metadata, metadata);
    const latest = { look: this.#looks, metadata: isSame ? shared.metadata : metadata };
    this.#latest.set(key, latest);
    return latest.metadata;
  }

  #serve(watcher: Watcher): void {
    const { request, stream, told } = watcher;
    const now = this.#now(request.topics);
    if (told === undefined) {
      this.#first(watcher, now);
      return;
    }
    if (this.held) return;
    if (!sameBytes(told.generation, now.generation)) {
      stream.end();
      return;
    }
    const news = told === now ? undefined : changes(told, now);
    const beatMs = this.beatMs ?? this.heartbeatIntervalMs;
    const due = performance.now() - watcher.toldMs >= beatMs;
    if (news !== undefined || due) {
      this.#send(watcher, now, news ?? { revision: now.revision });
    }
  }

  #first(watcher: Watcher, now: GetMetadataResponse): void {
    const { generation, afterRevision, topics } = watcher.request;
    const resumes = sameBytes(generation, now.generation) && afterRevision > 0n;
    if (resumes && afterRevision > now.revision) {
      watcher.stream.cancel(new MillraceError(ErrorCode.METADATA_STALE, `at ${now.revision}`));
      return;
    }
    const known = resumes ? this.#history.get(keyOf(topics, generation, afterRevision)) : undefined;
    const news =
      known === undefined
        ? { snapshot: true, topics: now.topics, ...brokersOf(now) }
        : changes(known, now);
    this.#send(watcher, now, {
      ...news,
      ...{ clusterId: now.clusterId, generation: now.generation, revision: now.revision },
      heartbeatIntervalMs: this.heartbeatIntervalMs,
    });
  }

  #send(watcher: Watcher, now: GetMetadataResponse, news: News): void {
    watcher.told = now;
    watcher.toldMs = performance.now();
    this.#history.set(keyOf(watcher.request.topics, now.generation, now.revision), now);
    watcher.stream.push(create(WatchMetadataResponseSchema, news));
  }
}

const keyOf = (topics: readonly string[], generation: Uint8Array, revision: bigint): string =>
  `${[...topics].sort().join()} ${Buffer.from(generation).toString("hex")} ${revision}`;

const brokersOf = ({ brokers }: GetMetadataResponse) => ({ brokers: { brokers } });

/** What changed; undefined for nothing but perhaps the revision. */
const changes = (old: GetMetadataResponse, now: GetMetadataResponse): News | undefined => {
  const topics: Topic[] = [];
  const routes: { topicId: Uint8Array; partition: Partition }[] = [];
  for (const topic of now.topics) {
    const before = old.topics.find(({ name }) => name === topic.name);
    const isSame =
      before !== undefined &&
      sameBytes(before.topicId, topic.topicId) &&
      before.partitions.length === topic.partitions.length;
    if (!isSame) {
      topics.push(topic);
      continue;
    }
    for (const [i, partition] of topic.partitions.entries()) {
      if (sameText(partition, before.partitions[i])) continue;
      routes.push({ topicId: topic.topicId, partition });
    }
  }
  const names = new Set(now.topics.map(({ name }) => name));
  const deletedTopics = old.topics.map(({ name }) => name).filter((name) => !names.has(name));
  const isSameBrokers = sameText(old.brokers, now.brokers);
  const brokers = isSameBrokers ? {} : brokersOf(now);
  const isNews = !isSameBrokers || topics.length + routes.length + deletedTopics.length > 0;
  return isNews ? { revision: now.revision, topics, routes, deletedTopics, ...brokers } : undefined;
};

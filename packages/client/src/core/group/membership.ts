/**
 * The stream of one member of a group: joining, signs of life, commits, and coming back.
 *
 * What is read is not decided here: see `Reconciler`.
 */
import { create } from "@bufbuild/protobuf";
import type { Cancel, Clock, Logger, Random } from "@millrace/env";
import { type Endpoint, ErrorCode, formatEndpoint, MillraceError } from "@millrace/errors";
import {
  type Assignment,
  type Committed,
  type Joined,
  JoinRequestSchema,
  type JoinResponse,
  type TopicOffsets,
} from "@millrace/proto/group";
import type { ClientStream } from "@millrace/rpc";
import { backoffMs } from "../backoff.ts";
import type { Connections } from "../connections.ts";
import { leaderSilentMs } from "../deadlines.ts";
import { fromWire, isRetriable, isSilence } from "../failures.ts";
import type { MetadataCache } from "../metadata/index.ts";
import { methods } from "../methods.ts";
import { SilenceTimer } from "../silence.ts";
import { lastWins, type OffsetsInput, type PartitionsInput } from "./messages.ts";

export interface MembershipContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly connections: Connections;
  readonly metadata: MetadataCache;
}

/** What the member says when it joins. */
export interface Subscription {
  readonly group: string;
  readonly clientId: string;
  readonly instanceId: string;
  readonly rackId: string;
  readonly topics: readonly string[];
  readonly topicPattern: string;
  readonly assignor: string;
  /** 0: the server's choice. */
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
}

export interface MembershipEvents {
  /**
   * A stream is opened, and says what the member owns or is about to read. Assignments of streams
   * before it are over.
   */
  onOpening(stream: number): PartitionsInput[];
  /** Partitions of the member; `stream` is to be given back in the report. */
  onAssignment(assignment: Assignment, stream: number): void;
  /** The group has given the partitions away. The member joins anew by itself. */
  onExpelled(error: MillraceError): void;
  /** The member is out, and no retry helps. */
  onFailed(error: MillraceError): void;
  /** The stream broke, or could not be opened. */
  onLost(server: string, error: MillraceError): void;
}

type Stream = ClientStream<unknown, JoinResponse>;

interface Waiting {
  readonly topics: readonly OffsetsInput[];
  readonly resolve: (refused: readonly TopicOffsets[]) => void;
  readonly reject: (error: MillraceError) => void;
}

/** Intervals without a sign of life after which the coordinator counts as dead. */
const silentIntervals = 3;
/** Where the server states no interval, milliseconds. */
const defaultIntervalMs = 5_000;
/**
 * Longest wait for a goodbye to be answered, milliseconds. Long enough for a coordinator to start
 * again: without a goodbye the partitions stand still for the session timeout.
 */
const leaveMs = 5_000;

const isExpulsion = ({ code }: MillraceError): boolean =>
  code === ErrorCode.UNKNOWN_MEMBER_ID || code === ErrorCode.FENCED_MEMBER_EPOCH;

export class Membership {
  readonly #context: MembershipContext;
  readonly #subscription: Subscription;
  readonly #events: MembershipEvents;
  readonly #silence: SilenceTimer;
  readonly #commits = new Map<bigint, Waiting>();
  readonly #over = new AbortController();
  #running: Promise<void> | undefined;
  #memberId = "";
  #memberEpoch = 0;
  /** Counts the streams that were opened. */
  #streamNumber = 0;
  #stream: Stream | undefined;
  /** What the server said on the present stream; undefined until then. */
  #joined: Joined | undefined;
  #leaving: { readonly temporary: boolean } | undefined;
  #trouble: MillraceError | undefined;
  #nextCommitId = 1n;
  #cancelBeat: Cancel = () => {};

  constructor(subscription: Subscription, context: MembershipContext, events: MembershipEvents) {
    this.#subscription = subscription;
    this.#context = context;
    this.#events = events;
    this.#silence = new SilenceTimer(context.clock);
  }

  /** "" before the group has given one. */
  get memberId(): string {
    return this.#memberId;
  }

  /** Why the member has no stream; undefined while it has one. */
  get trouble(): MillraceError | undefined {
    return this.#joined === undefined ? this.#trouble : undefined;
  }

  /** Joins, and goes on until `leave` or a failure. */
  start(): void {
    this.#running ??= this.#run();
  }

  /**
   * Says what the member owns, of the assignment `revision` on a stream. Nothing happens when
   * another stream is open: it gets an assignment of its own.
   */
  report(revision: bigint, owned: readonly PartitionsInput[], stream: number): void {
    if (this.#joined === undefined || stream !== this.#streamNumber) return;
    this.#send({ report: { revision, owned: [...owned] } });
  }

  /**
   * Commits offsets; resolves with those that were refused. What a broken stream left unanswered is
   * sent again on the next. Rejects when the member is expelled, or ends.
   */
  commit(topics: readonly OffsetsInput[]): Promise<readonly TopicOffsets[]> {
    if (this.#over.signal.aborted) return Promise.reject(this.#over.signal.reason);
    const commitId = this.#nextCommitId;
    this.#nextCommitId += 1n;
    return new Promise((resolve, reject) => {
      this.#commits.set(commitId, { topics, resolve, reject });
      if (this.#joined !== undefined) this.#sendCommit(commitId, topics);
    });
  }

  /**
   * Leaves the group; resolves once the group knows, or after five seconds. Offsets whose commit
   * was called before are committed before.
   */
  async leave(options: { readonly temporary: boolean }): Promise<void> {
    const { clock } = this.#context;
    this.#leaving = options;
    if (this.#joined !== undefined) this.#goodbye();
    // Without an id the group knows nothing of the member.
    else if (this.#memberId === "" && this.#stream === undefined) this.#end();
    const cancel = clock.timer(leaveMs, () => this.#end());
    await this.#running;
    cancel();
    this.#end();
  }

  #end(error = new MillraceError(ErrorCode.CANCELLED, "the consumer has left the group")): void {
    if (!this.#over.signal.aborted) this.#over.abort(error);
    this.#stream?.cancel(error);
    this.#rejectCommits(error);
  }

  #rejectCommits(error: MillraceError): void {
    const waiting = [...this.#commits.values()];
    this.#commits.clear();
    for (const { reject } of waiting) reject(error);
  }

  get #isOver(): boolean {
    return this.#over.signal.aborted;
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { clock, metadata, random } = this.#context;
    let hint: Endpoint | undefined;
    for (let failures = 0; !this.#isOver; failures += 1) {
      let endpoint = hint;
      try {
        endpoint ??= await metadata.coordinatorOf(this.#subscription.group);
        hint = undefined;
        if (this.#isOver) return;
        await this.#serve(endpoint);
        if (this.#leaving !== undefined) return this.#end();
        failures = 0;
      } catch (thrown) {
        if (this.#isOver) return;
        const error = MillraceError.from(thrown);
        // Of the stream that ended, not of the attempts before.
        if (this.#joined !== undefined) failures = 0;
        this.#joined = undefined;
        if (!this.#takeFailure(error, endpoint)) return;
        hint = error.leaderHint?.endpoint;
        const pauseMs = backoffMs(failures, random, error.retryAfterMs);
        await clock.sleep(pauseMs, this.#over.signal).catch(() => {});
      } finally {
        this.#drop();
      }
    }
  }

  /** False when no retry helps. */
  #takeFailure(error: MillraceError, endpoint: Endpoint | undefined): boolean {
    const { logger } = this.#context;
    const { group } = this.#subscription;
    this.#trouble = error;
    if (isExpulsion(error)) {
      logger.warn({ err: error, group, memberId: this.#memberId }, "the member was expelled");
      this.#memberId = "";
      this.#memberEpoch = 0;
      this.#rejectCommits(error);
      if (this.#leaving !== undefined) {
        this.#end(error);
        return false;
      }
      this.#events.onExpelled(error);
      return true;
    }
    const isFinal = !isRetriable(error);
    if (isFinal) {
      this.#end(error);
      this.#events.onFailed(error);
      return false;
    }
    logger.debug({ err: error, group }, "the member has no stream");
    if (endpoint !== undefined && isSilence(error))
      this.#events.onLost(formatEndpoint(endpoint), error);
    return true;
  }

  /** Opens a stream, and resolves when it ends in order. Rejects when it breaks. */
  async #serve(endpoint: Endpoint): Promise<void> {
    const server = formatEndpoint(endpoint);
    const stream = this.#context.connections.channel(endpoint).bidi(methods.join) as Stream;
    this.#stream = stream;
    this.#streamNumber += 1;
    this.#silence.start(leaderSilentMs, () => stream.cancel(silent(server, leaderSilentMs)));
    this.#send({ open: this.#open() });
    for (;;) {
      const response = stream.tryRead() ?? (await stream.read());
      if (response === undefined) {
        if (this.#leaving !== undefined && this.#joined !== undefined) return;
        throw ended(server);
      }
      this.#silence.heard();
      if (response.joined !== undefined) this.#onJoined(response.joined, server);
      if (this.#joined === undefined) throw ended(server);
      if (response.committed !== undefined) this.#onCommitted(response.committed);
      if (response.assignment !== undefined) this.#onAssignment(response.assignment);
      // Nothing more is answered here.
      if (response.drain !== undefined) throw draining(server);
    }
  }

  #open() {
    const { clientId, ...subscription } = this.#subscription;
    const isBack = this.#memberId !== "";
    const owned = this.#events.onOpening(this.#streamNumber);
    return {
      ...subscription,
      clientId,
      topics: [...subscription.topics],
      clusterId: this.#context.metadata.clusterId,
      memberId: this.#memberId,
      memberEpoch: this.#memberEpoch,
      owned: isBack ? owned : [],
    };
  }

  #onJoined(joined: Joined, server: string): void {
    this.#joined = joined;
    this.#memberId = joined.memberId;
    const intervalMs = joined.heartbeatIntervalMs || defaultIntervalMs;
    const silentMs = intervalMs * silentIntervals;
    this.#silence.start(silentMs, () => this.#stream?.cancel(silent(server, silentMs)));
    this.#beat(intervalMs);
    const commits = lastWins([...this.#commits.values()].map(({ topics }) => topics));
    for (const commitId of this.#commits.keys()) this.#sendCommit(commitId, commits.shift() ?? []);
    if (this.#leaving !== undefined) this.#goodbye();
  }

  #onCommitted({ commitId, error, refused }: Committed): void {
    const waiting = this.#commits.get(commitId);
    if (waiting === undefined) return;
    this.#commits.delete(commitId);
    if (error === undefined) waiting.resolve(refused);
    else waiting.reject(fromWire(error));
  }

  #onAssignment(assignment: Assignment): void {
    this.#memberEpoch = assignment.memberEpoch;
    if (this.#leaving === undefined) this.#events.onAssignment(assignment, this.#streamNumber);
  }

  #beat(intervalMs: number): void {
    this.#cancelBeat = this.#context.clock.timer(intervalMs, () => {
      this.#send({});
      this.#beat(intervalMs);
    });
  }

  #sendCommit(commitId: bigint, topics: readonly OffsetsInput[]): void {
    this.#send({ commit: { commitId, topics: [...topics] } });
  }

  #goodbye(): void {
    this.#send({ leave: { temporary: this.#leaving?.temporary ?? false } });
  }

  #send(request: Parameters<typeof create<typeof JoinRequestSchema>>[1]): void {
    this.#stream?.write(create(JoinRequestSchema, request));
  }

  #drop(): void {
    this.#joined = undefined;
    this.#cancelBeat();
    this.#silence.stop();
    this.#stream?.cancel();
    this.#stream = undefined;
  }
}

const silent = (server: string, ms: number): MillraceError =>
  new MillraceError(
    ErrorCode.UNAVAILABLE,
    `the coordinator ${server} was silent for ${ms} ms: check the server and the network`,
  );

const ended = (server: string): MillraceError =>
  new MillraceError(ErrorCode.UNAVAILABLE, `the coordinator ${server} ended the stream: retry`);

const draining = (server: string): MillraceError =>
  new MillraceError(ErrorCode.UNAVAILABLE, `the coordinator ${server} is stopping: retry`);

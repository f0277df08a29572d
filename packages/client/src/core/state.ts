/** Tells an application why its producer or consumer stands still, and when it goes on. */
import type { Cancel, Clock, Logger } from "@millrace/env";
import { ErrorCode, formatEndpoint, MillraceError } from "@millrace/errors";
import type { MetadataCache } from "./metadata/index.ts";
import type { ConsumerState, ProducerState, TopicPartition, Waiting } from "./types.ts";

/** How often is looked, milliseconds. */
const lookMs = 250;
/** Standstill that is told, and time between two tellings, milliseconds. */
const tellMs = 1_000;
/** Time without a record after which a consumer that has all counts as waiting, milliseconds. */
const awaitMs = 1_500;
/** Silence of a server with work to do that counts as standstill, milliseconds. */
export const silentMs = 1_500;

/** A partition that is held up, or a topic that is looked for, and why. */
export interface HeldUp {
  readonly topic: string;
  readonly partition?: number;
  readonly error: MillraceError;
}

/** A partition whose leader is followed. */
export interface LedPartition extends TopicPartition {
  /** `host:port` of the broker that led it when it was used last, if that is known. */
  readonly ledBy?: string | undefined;
}

export interface StateContext {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metadata: MetadataCache;
  readonly onState: (state: ConsumerState) => void;
  /** What is held up now. */
  readonly heldUp: () => readonly HeldUp[];
  /** Partitions whose leaders matter. */
  readonly partitions: () => Iterable<LedPartition>;
  /** How much was handed out, while a consumer waits for records; undefined for all others. */
  readonly awaited?: () => number | undefined;
}

/** The error of a server that owes an answer for so long. */
export const owesAnswer = (server: string, ms: number): MillraceError =>
  new MillraceError(
    ErrorCode.UNAVAILABLE,
    `${server} has not answered for ${(ms / 1000).toFixed(1)} s: check the server and the network`,
  );

export class StateTeller {
  readonly #context: StateContext;
  /** Servers whose loss was told. */
  readonly #lost = new Set<string>();
  /** `host:port` of the leader of each partition that was seen. */
  readonly #leaders = new Map<string, string>();
  /** Beginning of the trouble, monotonic; undefined while there is none. */
  #sinceMs: number | undefined;
  /** Whether any of the trouble was told, and when last. */
  #toldMs: number | undefined;
  #lastLookMs: number;
  /** What was handed out when nothing more was there, and since when. */
  #awaited: { readonly count: number; readonly sinceMs: number; told: boolean } | undefined;
  #cancelTimer: Cancel = () => {};
  readonly #stopFollowing: Cancel;

  constructor(context: StateContext) {
    this.#context = context;
    this.#lastLookMs = context.clock.monoMs();
    this.#stopFollowing = context.metadata.onChange(() => this.#followLeaders());
    this.#arm();
  }

  /** A stream to a server broke, or could not be opened. */
  lost(server: string, error: MillraceError): void {
    if (this.#lost.has(server)) return;
    this.#lost.add(server);
    const nowMs = this.#context.clock.monoMs();
    this.#sinceMs ??= nowMs;
    this.#toldMs ??= nowMs;
    this.#tell({ type: "connection_lost", server, error });
  }

  stop(): void {
    this.#cancelTimer();
    this.#stopFollowing();
  }

  #arm(): void {
    this.#cancelTimer = this.#context.clock.timer(lookMs, () => {
      this.#arm();
      this.#look();
    });
  }

  #look(): void {
    const { clock, heldUp } = this.#context;
    const nowMs = clock.monoMs();
    this.#followLeaders();
    const found = heldUp();
    if (found.length === 0) this.#goesOn(nowMs);
    else this.#standsStill(found, nowMs);
    this.#lastLookMs = nowMs;
    this.#lookForRecords(found.length === 0, nowMs);
  }

  #goesOn(nowMs: number): void {
    const sinceMs = this.#sinceMs;
    this.#sinceMs = undefined;
    this.#lost.clear();
    if (sinceMs === undefined || this.#toldMs === undefined) return;
    this.#toldMs = undefined;
    this.#tell({ type: "resumed", waitedMs: Math.round(nowMs - sinceMs) });
  }

  #standsStill(found: readonly HeldUp[], nowMs: number): void {
    // It began after the look before, when nothing was held up.
    const sinceMs = this.#sinceMs ?? this.#lastLookMs;
    this.#sinceMs = sinceMs;
    const [first] = found;
    if (first === undefined || nowMs - (this.#toldMs ?? sinceMs) < tellMs) return;
    this.#toldMs = nowMs;
    this.#tell(this.#waiting(found, first.error, nowMs - sinceMs));
  }

  #waiting(found: readonly HeldUp[], error: MillraceError, waitedMs: number): Waiting {
    const partitions = found.map(({ topic, partition }) =>
      partition === undefined ? { topic } : { topic, partition },
    );
    const sinceMs = Math.round(this.#context.clock.wallMs() - waitedMs);
    return { type: "waiting", sinceMs, waitedMs: Math.round(waitedMs), partitions, error };
  }

  #lookForRecords(isFine: boolean, nowMs: number): void {
    const count = isFine ? this.#context.awaited?.() : undefined;
    if (count === undefined) this.#awaited = undefined;
    else if (this.#awaited?.count !== count) {
      this.#awaited = { count, sinceMs: nowMs, told: false };
    } else if (!this.#awaited.told && nowMs - this.#awaited.sinceMs >= awaitMs) {
      this.#awaited.told = true;
      this.#tell({ type: "waiting_for_records" });
    }
  }

  #followLeaders(): void {
    const { metadata, partitions } = this.#context;
    for (const { topic, partition, ledBy } of partitions()) {
      const leader = metadata.leaderOf(topic, partition);
      if (leader === undefined) continue;
      const key = `${partition}/${topic}`;
      const to = formatEndpoint(leader.endpoint);
      const from = this.#leaders.get(key) ?? ledBy;
      this.#leaders.set(key, to);
      if (from === to) continue;
      const { leaderEpoch } = leader;
      if (from !== undefined) {
        this.#tell({ type: "leader_moved", topic, partition, from, to, leaderEpoch });
      }
    }
  }

  #tell(state: ConsumerState): void {
    try {
      this.#context.onState(state);
    } catch (thrown) {
      this.#context.logger.warn({ err: thrown, state: state.type }, "onState threw");
    }
  }
}

/** For producers, which never wait for records. */
export const tellsProducer =
  (onState: (state: ProducerState) => void): ((state: ConsumerState) => void) =>
  (state) => {
    if (state.type !== "waiting_for_records") onState(state);
  };

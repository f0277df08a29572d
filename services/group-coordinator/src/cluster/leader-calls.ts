/** Calls to the leaders of partitions, wherever they are, until one answers. */
import type { Clock } from "@millrace/env";
import { type Endpoint, ErrorCode, formatEndpoint, MillraceError } from "@millrace/errors";
import { type Channel, clusterIdMetadata, type Dialer, type Method } from "@millrace/rpc";
import type { OfPartition, PartitionCalls } from "./partition-calls.ts";
import type { ClusterView } from "./view.ts";

export interface LeaderCallsOptions {
  readonly clock: Clock;
  readonly dialer: Dialer;
  readonly view: ClusterView;
  readonly clusterId: string;
}

/** Longest wait for one answer, ms. */
const answerMs = 5000;
/** Longest time that a call is tried again, ms. */
const triesMs = 15_000;
/** Pause before the next try, ms. */
const pauseMs = 50;

export class LeaderCalls implements PartitionCalls {
  readonly #options: LeaderCallsOptions;
  readonly #metadata: ReadonlyMap<string, string> | undefined;
  readonly #channels = new Map<string, Channel>();

  constructor(options: LeaderCallsOptions) {
    this.#options = options;
    this.#metadata = clusterIdMetadata(options.clusterId);
  }

  isLed(to: OfPartition): boolean {
    return this.#leaderOf(to) !== undefined;
  }

  /**
   * One call to the leader of a partition. It is tried again, also when it may have had an effect:
   * only for calls that may be made twice. Throws what cannot be tried again, or the last error
   * after 15 s.
   */
  async call<I, O>(
    to: OfPartition,
    method: Method<I, O>,
    request: I,
    signal?: AbortSignal,
  ): Promise<O> {
    const { clock } = this.#options;
    const endMs = clock.monoMs() + triesMs;
    for (;;) {
      try {
        return await this.#once(to, method, request, signal);
      } catch (thrown) {
        const error = MillraceError.from(thrown);
        const isOver = clock.monoMs() >= endMs || signal?.aborted === true;
        if (!error.spec.retriable || isOver) throw error;
        await clock.sleep(pauseMs, signal);
      }
    }
  }

  close(): void {
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }

  /** Where the leader of a partition is; undefined when there is none, or it cannot be dialed. */
  #leaderOf({ partition, topicId }: OfPartition): Endpoint | undefined {
    const { brokers, topicsById } = this.#options.view.current;
    const leader = topicsById.get(topicId)?.partitions[partition]?.leader;
    return leader === undefined ? undefined : brokers.get(leader)?.internalEndpoint;
  }

  async #once<I, O>(
    to: OfPartition,
    method: Method<I, O>,
    request: I,
    signal: AbortSignal | undefined,
  ): Promise<O> {
    const endpoint = this.#leaderOf(to);
    if (endpoint === undefined) {
      const message = `partition ${to.partition} has no leader at the moment`;
      throw MillraceError.refusal(ErrorCode.LEADER_NOT_AVAILABLE, message);
    }
    const address = formatEndpoint(endpoint);
    const channel = this.#channels.get(address) ?? this.#options.dialer.dial(address, endpoint);
    this.#channels.set(address, channel);
    try {
      return await channel.unary(method, request, {
        timeoutMs: answerMs,
        ...(this.#metadata && { metadata: this.#metadata }),
        ...(signal && { signal }),
      });
    } catch (thrown) {
      // The connection may be dead without a word: the next call takes a new one.
      if (MillraceError.from(thrown).spec.sideEffects) {
        channel.close();
        this.#channels.delete(address);
      }
      throw thrown;
    }
  }
}

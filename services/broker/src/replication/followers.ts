/**
 * What this broker follows: a stream for each leader, opened with its first partition and closed
 * with its last.
 */
import { ErrorCode, formatEndpoint, MillraceError } from "@millrace/errors";
import type { Channel, Dialer } from "@millrace/rpc";
import type { ClusterView } from "../metadata/view.ts";
import {
  type FollowedPartition,
  type FollowerContext,
  FollowerStream,
  type PartitionName,
} from "./follower-stream.ts";

export interface FollowersOptions extends FollowerContext {
  readonly dialer: Dialer;
  /** Where the leaders are. */
  readonly view: ClusterView;
}

export class Followers {
  readonly #options: FollowersOptions;
  readonly #streams = new Map<number, FollowerStream>();
  /** Streams that end, and cuts of partitions that are followed no more. */
  readonly #ending = new Set<Promise<void>>();
  #isClosed = false;

  constructor(options: FollowersOptions) {
    this.#options = options;
  }

  /** Follows a partition under a leader until it is told otherwise. */
  follow(leader: number, partition: FollowedPartition): void {
    if (this.#isClosed) return;
    let stream = this.#streams.get(leader);
    if (stream === undefined) {
      stream = new FollowerStream(this.#options, leader, () => this.#dial(leader));
      this.#streams.set(leader, stream);
    }
    stream.follow(partition);
  }

  /** See `FollowerStream.unfollow`. */
  unfollow(leader: number, partition: PartitionName): Promise<void> | undefined {
    const stream = this.#streams.get(leader);
    const cutting = stream?.unfollow(partition);
    if (cutting !== undefined) this.#waitFor(cutting);
    if (stream?.size === 0) {
      this.#streams.delete(leader);
      this.#waitFor(stream.close());
    }
    return cutting;
  }

  /** Leaders that are followed. */
  get leaders(): number {
    return this.#streams.size;
  }

  /** Ends all streams. Resolves when nothing cuts a log any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const streams = [...this.#streams.values()].map((stream) => stream.close());
    this.#streams.clear();
    await Promise.all([...streams, ...this.#ending]);
  }

  #waitFor(end: Promise<void>): void {
    const ending = end.finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  #dial(leader: number): Channel {
    const { dialer, view } = this.#options;
    const endpoint = view.current.brokers.get(leader)?.internalEndpoint;
    if (endpoint !== undefined) return dialer.dial(formatEndpoint(endpoint), endpoint);
    const text = `broker ${leader} is not registered, or tells no address for brokers: retry`;
    throw MillraceError.refusal(ErrorCode.UNAVAILABLE, text);
  }
}

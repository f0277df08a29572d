/** Where partitions end, and how old their records are: asked of their leaders. */
import { create } from "@bufbuild/protobuf";
import type { Clock } from "@millrace/env";
import { ErrorCode } from "@millrace/errors";
import {
  FetchOnceRequestSchema,
  FetchService,
  ListOffsetsRequestSchema,
  LogService,
  OffsetSpec,
} from "@millrace/proto/broker";
import type { GroupPartition, GroupTopic } from "@millrace/proto/group";
import { type TopicId, topicIdBytes, topicIdOf } from "@millrace/record";
import { methodOf } from "@millrace/rpc";
import { PartitionMap } from "../group/partition-map.ts";
import type { OffsetToCommit, RefusedOffset } from "../group/types.ts";
import type { PartitionEnds } from "../runtime/partition-ends.ts";
import type { PartitionCalls } from "./partition-calls.ts";

const listOffsets = methodOf(LogService.method.listOffsets);
const fetchOnce = methodOf(FetchService.method.fetchOnce);

/** Partitions that are asked about at once. */
const askedAtOnce = 32;

interface Bounds {
  readonly start: number;
  readonly end: number;
}

export class ClusterEnds implements PartitionEnds {
  readonly #calls: PartitionCalls;
  readonly #clock: Clock;
  /** Ends that partitions have had: a log may lose its end, but not what was committed. */
  readonly #known = new PartitionMap<number>();

  constructor(calls: PartitionCalls, clock: Clock) {
    this.#calls = calls;
    this.#clock = clock;
  }

  async beyond(
    offsets: readonly OffsetToCommit[],
  ): Promise<ReadonlyMap<OffsetToCommit, RefusedOffset>> {
    const beyond = new Map<OffsetToCommit, RefusedOffset>();
    const isKnown = ({ offset, partition, topicId }: OffsetToCommit): boolean =>
      offset <= (this.#known.get(topicId, partition) ?? -1);
    if (offsets.every(isKnown)) return beyond;
    await inParallel(offsets, async (one) => {
      if (isKnown(one)) return;
      const { offset, partition, topicId } = one;
      // A partition that does not exist is refused as such.
      if (!this.#calls.isLed({ topicId, partition })) return;
      const { end } = await this.#bounds(topicId, partition);
      if (offset <= end) return;
      const message = `offset ${offset} is behind the end of partition ${partition}, ${end}`;
      beyond.set(one, { topicId, partition, code: ErrorCode.OFFSET_OUT_OF_RANGE, message });
    });
    return beyond;
  }

  async measure(topics: readonly GroupTopic[]): Promise<void> {
    const all = topics.flatMap(({ partitions, topicId }) =>
      partitions.map((partition) => ({ topicId: topicIdOf(topicId), partition })),
    );
    await inParallel(all, async ({ partition, topicId }) => {
      if (!this.#calls.isLed({ topicId, partition: partition.partition })) return;
      await this.#measure(topicId, partition).catch(() => {});
    });
  }

  async #measure(topicId: TopicId, of: GroupPartition): Promise<void> {
    const { end, start } = await this.#bounds(topicId, of.partition);
    of.endOffset = BigInt(end);
    const from = Math.max(start, Number(of.committed?.offset ?? 0n));
    of.lagRecords = BigInt(Math.max(0, end - from));
    of.lagMs = from >= end ? 0n : await this.#ageOf(topicId, of.partition, from);
  }

  /** How long ago the record at an offset was appended. */
  async #ageOf(topicId: TopicId, partition: number, offset: number): Promise<bigint> {
    const request = create(FetchOnceRequestSchema, {
      ...{ topicId: topicIdBytes(topicId), partition, offset: BigInt(offset), maxBytes: 1 },
    });
    const { batches } = await this.#calls.call({ topicId, partition }, fetchOnce, request);
    const appendTimeMs = Number(batches[0]?.appendTimeMs ?? this.#clock.wallMs());
    return BigInt(Math.max(0, this.#clock.wallMs() - appendTimeMs));
  }

  async #bounds(topicId: TopicId, partition: number): Promise<Bounds> {
    const specs = [OffsetSpec.EARLIEST, OffsetSpec.LATEST];
    const queries = specs.map((spec) => ({ topicId: topicIdBytes(topicId), partition, spec }));
    const request = create(ListOffsetsRequestSchema, { queries });
    const { results } = await this.#calls.call({ topicId, partition }, listOffsets, request);
    const [start, end] = results.map(({ offset }) => Number(offset ?? 0n));
    this.#known.set(topicId, partition, end ?? 0);
    return { start: start ?? 0, end: end ?? 0 };
  }
}

const inParallel = async <Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<void>,
): Promise<void> => {
  const rest = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (const item of rest) await work(item);
  };
  await Promise.all(Array.from({ length: askedAtOnce }, worker));
};

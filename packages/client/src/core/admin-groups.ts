/** Calls about consumer groups, to the coordinator of each. */
import { create } from "@bufbuild/protobuf";
import { type Endpoint, ErrorCode, MillraceError } from "@millrace/errors";
import {
  CommitOffsetsRequestSchema,
  DeleteGroupRequestSchema,
  DescribeGroupRequestSchema,
  type DescribeGroupResponse,
  FetchOffsetsRequestSchema,
  GroupState,
  type ListedGroup,
  ListGroupsRequestSchema,
  ResetOffsetsRequestSchema,
  type TopicOffsets,
} from "@millrace/proto/group";
import type { Method } from "@millrace/rpc";
import type {
  CommittedOffset,
  GroupListing,
  GroupOffsets,
  GroupOffsetsQuery,
  GroupStateName,
  OffsetReset,
  OffsetResult,
} from "./admin-types.ts";
import { backoffMs } from "./backoff.ts";
import { fromWire, isRetriable } from "./failures.ts";
import { type OffsetInput, offsetsInput, partitionsInput, refusedOf } from "./group/messages.ts";
import type { OffsetCommit } from "./group/types.ts";
import { methods } from "./methods.ts";
import { type CallContext, resolvePosition } from "./offsets.ts";

const stateNames: Readonly<Record<number, GroupStateName>> = {
  [GroupState.EMPTY]: "empty",
  [GroupState.RECONCILING]: "reconciling",
  [GroupState.STABLE]: "stable",
};

/** The name of a state; "unknown" for one of later servers. */
export const groupStateName = (state: GroupState): GroupStateName => stateNames[state] ?? "unknown";

/** Partitions whose positions are looked up at once. */
const parallel = 32;

export class GroupAdmin {
  readonly #context: CallContext;
  readonly #timeoutMs: number;

  constructor(context: CallContext, timeoutMs: number) {
    this.#context = context;
    this.#timeoutMs = timeoutMs;
  }

  async list(): Promise<GroupListing[]> {
    const { metadata } = this.#context;
    await metadata.refresh();
    const coordinators = metadata.coordinators();
    if (coordinators.length === 0) throw nobodyServes();
    const pages = await Promise.all(coordinators.map(({ endpoint }) => this.#listAt(endpoint)));
    const byName = new Map(pages.flat().map((one) => [one.group, one]));
    return [...byName.values()]
      .sort((a, b) => (a.group < b.group ? -1 : 1))
      .map(({ group, members, state }) => ({ group, members, state: groupStateName(state) }));
  }

  describe(group: string): Promise<DescribeGroupResponse> {
    const request = create(DescribeGroupRequestSchema, { group });
    return this.#ask(group, methods.describeGroup, request, true);
  }

  async reset(reset: OffsetReset): Promise<OffsetResult[]> {
    const { group } = reset;
    const isWhole = !("offsets" in reset);
    const wanted = isWhole ? await this.#offsetsAt(reset.topic, reset.to) : inputsOf(reset.offsets);
    if (isWhole && reset.validateOnly === true) {
      // A group that does not exist is refused here as it would be below.
      await this.describe(group);
      return resultsOf(wanted, []);
    }
    const request = create(ResetOffsetsRequestSchema, { group, topics: offsetsInput(wanted) });
    // Once more sets the same.
    const { refused } = await this.#ask(group, methods.resetOffsets, request, true);
    return resultsOf(wanted, refused);
  }

  async delete(group: string): Promise<void> {
    const request = create(DeleteGroupRequestSchema, { group });
    await this.#ask(group, methods.deleteGroup, request, false);
  }

  async commit({ group, offsets }: GroupOffsets): Promise<OffsetResult[]> {
    const wanted = inputsOf(offsets);
    const request = create(CommitOffsetsRequestSchema, { group, topics: offsetsInput(wanted) });
    const { refused } = await this.#ask(group, methods.commitOffsets, request, true);
    return resultsOf(wanted, refused);
  }

  async fetch({ group, partitions = [] }: GroupOffsetsQuery): Promise<CommittedOffset[]> {
    const fields = { group, topics: partitionsInput(partitions) };
    const request = create(FetchOffsetsRequestSchema, fields);
    const { topics } = await this.#ask(group, methods.fetchOffsets, request, true);
    return topics.flatMap(({ partitions: found, topic }) =>
      found.flatMap(({ commitTimeMs, committed, error, partition }) => {
        if (error !== undefined) throw fromWire(error);
        if (committed === undefined) return [];
        const { metadata, offset } = committed;
        return [{ topic, partition, offset, metadata, commitTimeMs: Number(commitTimeMs) }];
      }),
    );
  }

  async #listAt(endpoint: Endpoint): Promise<ListedGroup[]> {
    const { connections } = this.#context;
    const groups: ListedGroup[] = [];
    for (let more = true; more; ) {
      const request = create(ListGroupsRequestSchema, { afterGroup: groups.at(-1)?.group ?? "" });
      const options = { timeoutMs: this.#timeoutMs };
      const page = await connections.unary(endpoint, methods.listGroups, request, options);
      groups.push(...page.groups);
      more = page.more && page.groups.length > 0;
    }
    return groups;
  }

  async #offsetsAt(
    topic: string,
    to: Parameters<typeof resolvePosition>[3],
  ): Promise<OffsetInput[]> {
    const { metadata } = this.#context;
    const { partitions } = await metadata.freshTopic(topic);
    const found: OffsetInput[] = [];
    for (let at = 0; at < partitions.length; at += parallel) {
      const some = await Promise.all(
        partitions.slice(at, at + parallel).map(async ({ partition }) => {
          const ms = this.#timeoutMs;
          const place = await resolvePosition(this.#context, topic, partition, to, ms);
          return { topic, partition, offset: BigInt(place.offset), topicId: place.topicId };
        }),
      );
      found.push(...some);
    }
    return found;
  }

  /** Calls the coordinator of a group. Looks for it again, and retries, while that may help. */
  async #ask<I, O>(
    group: string,
    method: Method<I, O>,
    request: I,
    mayRepeat: boolean,
  ): Promise<O> {
    const { clock, connections, metadata, random } = this.#context;
    const deadlineMs = clock.monoMs() + this.#timeoutMs;
    for (let attempt = 0; ; attempt += 1) {
      try {
        const endpoint = await metadata.coordinatorOf(group);
        const timeoutMs = Math.max(1, deadlineMs - clock.monoMs());
        return await connections.unary(endpoint, method, request, { timeoutMs });
      } catch (thrown) {
        const error = MillraceError.from(thrown);
        const pauseMs = backoffMs(attempt, random, error.retryAfterMs);
        const isLate = clock.monoMs() + pauseMs >= deadlineMs;
        const helps = isRetriable(error) && (mayRepeat || !error.spec.sideEffects);
        if (isLate || !helps) throw error;
        await clock.sleep(pauseMs);
      }
    }
  }
}

const inputsOf = (offsets: readonly OffsetCommit[]): OffsetInput[] =>
  offsets.map(({ metadata, offset, partition, topic }) => ({
    ...{ topic, partition, offset: BigInt(offset) },
    ...(metadata === undefined
      ? {}
      : { metadata: typeof metadata === "string" ? Buffer.from(metadata) : metadata }),
  }));

const resultsOf = (
  wanted: readonly OffsetInput[],
  refused: readonly TopicOffsets[],
): OffsetResult[] => {
  const errors = refusedOf(refused);
  return wanted.map(({ offset, partition, topic }) => {
    const found = errors.find((one) => one.topic === topic && one.partition === partition);
    return { topic, partition, offset, error: found?.error };
  });
};

const nobodyServes = (): MillraceError =>
  MillraceError.refusal(
    ErrorCode.NOT_COORDINATOR,
    "no group coordinator is registered, or the servers are too old: start one",
  );

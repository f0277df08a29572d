/** GroupService: streams of members, and the calls of tools. */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type CommitOffsetsRequest,
  CommitOffsetsResponseSchema,
  type DeleteGroupRequest,
  DeleteGroupResponseSchema,
  type DescribeGroupRequest,
  type DescribeGroupResponse,
  DescribeGroupResponseSchema,
  type FetchOffsetsRequest,
  FetchOffsetsResponseSchema,
  GroupMemberSchema,
  GroupPartitionSchema,
  GroupState,
  GroupTopicSchema,
  type JoinRequest,
  type JoinResponse,
  ListedGroupSchema,
  type ListGroupsRequest,
  ListGroupsResponseSchema,
  PartitionOffsetSchema,
  type ResetOffsetsRequest,
  ResetOffsetsResponseSchema,
  TopicOffsetsSchema,
} from "@millrace/proto/group";
import { type TopicId, topicIdBytes } from "@millrace/record";
import type { ServerStream } from "@millrace/rpc";
import type { Group } from "../group/group.ts";
import type { Member } from "../group/member.ts";
import { PartitionSet } from "../group/partition-map.ts";
import type { Topics } from "../group/types.ts";
import { limits } from "../limits.ts";
import { checkGroupName } from "./join-request.ts";
import { type JoinContext, JoinSession } from "./join-session.ts";
import {
  committedMessage,
  partitionsMessage,
  readOffsets,
  refusedMessage,
  setOf,
} from "./messages.ts";

export interface GroupContext extends JoinContext {
  readonly coordinatorId: number;
}

const states = {
  empty: GroupState.EMPTY,
  reconciling: GroupState.RECONCILING,
  stable: GroupState.STABLE,
} as const;

const nothing = new PartitionSet();

export class GroupHandlers {
  readonly #context: GroupContext;

  constructor(context: GroupContext) {
    this.#context = context;
  }

  join(stream: ServerStream<JoinRequest, JoinResponse>): Promise<void> {
    return new JoinSession(stream, this.#context).run();
  }

  async commitOffsets({ group, topics: listed }: CommitOffsetsRequest) {
    checkGroupName(group);
    const { coordinator, ends } = this.#context;
    const { topics } = coordinator;
    const { offsets, unknown } = readOffsets(topics, listed);
    const beyond = await ends.beyond(offsets);
    const inside = offsets.filter((one) => !beyond.has(one));
    const runner = await coordinator.runnerOf(group);
    const refused = await runner.run((shard, now) => shard.commitFromOutside(group, inside, now));
    const all = [...refused, ...beyond.values()];
    return create(CommitOffsetsResponseSchema, { refused: refusedMessage(topics, all, unknown) });
  }

  async resetOffsets({ group, topics: listed }: ResetOffsetsRequest) {
    checkGroupName(group);
    const { coordinator, ends } = this.#context;
    const { topics } = coordinator;
    const { offsets, unknown } = readOffsets(topics, listed);
    const beyond = await ends.beyond(offsets);
    const inside = offsets.filter((one) => !beyond.has(one));
    const runner = await coordinator.runnerOf(group);
    const refused = await runner.run((shard, now) => shard.reset(group, inside, now));
    const all = [...refused, ...beyond.values()];
    return create(ResetOffsetsResponseSchema, { refused: refusedMessage(topics, all, unknown) });
  }

  /** Everything that was acknowledged before is committed: the answer waits for the log. */
  async fetchOffsets({ group, topics: listed }: FetchOffsetsRequest) {
    checkGroupName(group);
    const { coordinator } = this.#context;
    const { topics } = coordinator;
    const wanted = listed.length === 0 ? undefined : setOf(topics, listed);
    const found = await (await coordinator.runnerOf(group)).readLatest((shard) => {
      const of = shard.groups.get(group)?.offsets;
      const all = wanted ?? PartitionSet.of([...(of ?? [])].map(([id, p]) => [id, [p]]));
      return all.sorted().map(([topicId, partitions]) =>
        create(TopicOffsetsSchema, {
          topicId: topicIdBytes(topicId),
          topic: topics.byId(topicId)?.name ?? "",
          partitions: partitions.map((partition) => {
            const committed = of?.get(topicId, partition);
            if (committed === undefined) return create(PartitionOffsetSchema, { partition });
            const commitTimeMs = BigInt(committed.commitTimeMs);
            return create(PartitionOffsetSchema, {
              ...{ partition, commitTimeMs },
              committed: committedMessage(committed),
            });
          }),
        }),
      );
    });
    return create(FetchOffsetsResponseSchema, { topics: found });
  }

  async listGroups({ afterGroup, groupsMax, states: wanted }: ListGroupsRequest) {
    const most = Math.min(groupsMax || limits.groupsListedMax, limits.groupsListedMax);
    const all = this.#context.coordinator.shards
      .flatMap((shard) => [...shard.groups.values()])
      .filter(({ name, state }) => {
        const isWanted = wanted.length === 0 || wanted.includes(states[state]);
        return name > afterGroup && isWanted;
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    const groups = all
      .slice(0, most)
      .map(({ members, name, state }) =>
        create(ListedGroupSchema, { group: name, state: states[state], members: members.size }),
      );
    return create(ListGroupsResponseSchema, { groups, more: all.length > most });
  }

  async describeGroup({ group: name }: DescribeGroupRequest): Promise<DescribeGroupResponse> {
    checkGroupName(name);
    const { coordinator, coordinatorId } = this.#context;
    const { topics } = coordinator;
    const described = await (await coordinator.runnerOf(name)).read((shard) => {
      const group = shard.groups.get(name);
      if (group === undefined) {
        const message = `no group ${name}: it has neither members nor committed offsets`;
        throw MillraceError.refusal(ErrorCode.GROUP_ID_NOT_FOUND, message);
      }
      return create(DescribeGroupResponseSchema, {
        ...{ group: name, coordinatorId },
        state: states[group.state],
        groupEpoch: group.groupEpoch,
        targetEpoch: group.targetEpoch,
        assignor: group.assignor,
        members: [...group.members.values()]
          .sort((a, b) => (a.id < b.id ? -1 : 1))
          .map((member) => memberMessage(group, member, topics)),
        topics: topicMessages(group, topics),
      });
    });
    await this.#context.ends.measure(described.topics);
    return described;
  }

  async deleteGroup({ group }: DeleteGroupRequest) {
    checkGroupName(group);
    const runner = await this.#context.coordinator.runnerOf(group);
    await runner.run((shard) => shard.delete(group));
    return create(DeleteGroupResponseSchema);
  }
}

const memberMessage = (group: Group, member: Member, topics: Topics) => {
  const { clientHost, clientId, instanceId, pattern, rackId } = member.subscription;
  const { assigned, revoking } = member.value();
  return create(GroupMemberSchema, {
    ...{ memberId: member.id, clientId, clientHost, memberEpoch: member.epoch },
    instanceId: instanceId ?? "",
    rackId: rackId ?? "",
    topics: [...member.subscription.topics],
    topicPattern: pattern?.text ?? "",
    assigned: partitionsMessage(assigned, topics),
    revoking: partitionsMessage(revoking, topics),
    target: partitionsMessage(group.targetOf(member.id) ?? nothing, topics),
    connected: member.session !== undefined,
  });
};

/** Partitions that are assigned or have an offset. */
const topicMessages = (group: Group, topics: Topics) => {
  const all = new PartitionSet();
  for (const [topicId, partition] of group.offsets) all.add(topicId, partition);
  for (const member of group.members.values()) {
    for (const [topicId, partition] of member.assigned) all.add(topicId, partition);
  }
  const partitionMessage = (topicId: TopicId, partition: number) => {
    const committed = group.offsets.get(topicId, partition);
    const memberId = group.ownerOf(topicId, partition) ?? "";
    if (committed === undefined) return create(GroupPartitionSchema, { partition, memberId });
    return create(GroupPartitionSchema, {
      ...{ partition, memberId, committed: committedMessage(committed) },
      commitTimeMs: BigInt(committed.commitTimeMs),
    });
  };
  return all.sorted().map(([topicId, partitions]) =>
    create(GroupTopicSchema, {
      topicId: topicIdBytes(topicId),
      topic: topics.byId(topicId)?.name ?? "",
      partitions: partitions.map((partition) => partitionMessage(topicId, partition)),
    }),
  );
};

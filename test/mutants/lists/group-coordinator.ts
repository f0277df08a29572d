/** The groups of a coordinator: who owns what, what is committed, and when it is told. */
import type { Mutant } from "../mutant.ts";

const src = "services/group-coordinator/src";
const rules = [`${src}/group/group.test.ts`, `${src}/shard/world.test.ts`];

export const groupMutants: readonly Mutant[] = [
  {
    name: "group-report-of-before",
    breaks: "A partition goes on only by a report on the assignment that took it.",
    file: `${src}/group/member.ts`,
    replace: [["revoked.revision <= revision && !owned", "!owned"]],
    tests: rules,
  },
  {
    name: "group-report-not-read",
    breaks: "A partition that its owner still reports stays with it.",
    file: `${src}/group/member.ts`,
    replace: [
      [
        "yield [topicId, partition];\n    }",
        "yield [topicId, partition];\n      else if (revoked.revision <= revision) yield [topicId, partition];\n    }",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-two-owners",
    breaks: "A partition has at most one owner.",
    file: `${src}/group/assignments.ts`,
    replace: [
      [
        "if (member === undefined || this.#owners.has(topicId, partition)) return;",
        "if (member === undefined) return;",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-resetting-unchecked",
    breaks: "A commit of before a reset is refused.",
    file: `${src}/group/group.ts`,
    replace: [
      ["if (!member.isResetting(topicId, partition)) return undefined;", "return undefined;"],
    ],
    tests: rules,
  },
  {
    name: "group-anyone-commits",
    breaks: "Only the owner of a partition commits it.",
    file: `${src}/group/group.ts`,
    replace: [["if (!member.mayOwn(topicId, partition)) {", "if (partition < 0) {"]],
    tests: rules,
  },
  {
    name: "group-reset-applied-early",
    breaks: "A reset is over only once the member has applied the assignment that says it.",
    file: `${src}/group/member.ts`,
    replace: [["      if (since > revision) continue;\n", ""]],
    tests: rules,
  },
  {
    name: "group-later-record-loses",
    breaks: "Of two members with a partition the one with the later record has it.",
    file: `${src}/group/assignments.ts`,
    replace: [
      ["        this.#owners.get(topicId, partition)?.released(topicId, partition);\n", ""],
    ],
    tests: rules,
  },
  {
    name: "group-position-kept",
    breaks: "A partition that comes again comes with its position.",
    file: `${src}/group/member.ts`,
    replace: [
      [
        "    this.#positioned.delete(topicId, partition);\n  }\n\n  /** The position was",
        "  }\n\n  /** The position was",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-target-of-the-gone",
    breaks: "A member that is gone is given nothing.",
    file: `${src}/group/assignments.ts`,
    replace: [["        this.#targetOwners.delete(topicId, partition);\n", "        continue;\n"]],
    tests: rules,
  },
  {
    name: "group-successor-in-between",
    breaks: "A static member that is replaced while a target is made keeps its partitions.",
    file: `${src}/group/group.ts`,
    replace: [["if (this.needsTarget) this.#begin(changes);\n", ""]],
    tests: rules,
  },
  {
    name: "group-returns-with-positions",
    breaks: "A member that comes back is told positions of what it does not own.",
    file: `${src}/group/member.ts`,
    replace: [["this.#positioned = owned.copy();", "this.#positioned = this.assigned.copy();"]],
    tests: rules,
  },
  {
    name: "group-returns-with-anything",
    breaks: "A member that comes back owns what it was given.",
    file: `${src}/group/group.ts`,
    replace: [
      [
        "memberEpoch > member.epoch || !this.#mayOwnAll(member, owned)",
        "memberEpoch > member.epoch",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-returns-from-the-future",
    breaks: "A member comes back under an epoch that it had.",
    file: `${src}/group/group.ts`,
    replace: [
      [
        "memberEpoch > member.epoch || !this.#mayOwnAll(member, owned)",
        "!this.#mayOwnAll(member, owned)",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-reports-anything",
    breaks: "A member that owns what it was not given is expelled.",
    file: `${src}/group/group.ts`,
    replace: [["tooNew || !this.#mayOwnAll(member, report.owned)", "tooNew"]],
    tests: rules,
  },
  {
    name: "group-reports-the-future",
    breaks: "A report on an assignment that was not made expels the member.",
    file: `${src}/group/group.ts`,
    replace: [
      [
        "tooNew || !this.#mayOwnAll(member, report.owned)",
        "!this.#mayOwnAll(member, report.owned)",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-old-stream-counts",
    breaks: "Only the latest stream of a member counts.",
    file: `${src}/group/group.ts`,
    replace: [
      [
        "if (member?.session === session) return member;",
        "if (member !== undefined) return member;",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-old-stream-stays",
    breaks: "A stream that is replaced ends.",
    file: `${src}/group/group.ts`,
    replace: [["    this.#endSession(member, changes);\n", ""]],
    tests: rules,
  },
  {
    name: "group-successor-without-target",
    breaks: "A static member that is replaced hands its target on.",
    file: `${src}/group/assignments.ts`,
    replace: [["    if (target !== undefined) this.#target.set(member.id, target);\n", ""]],
    tests: rules,
  },
  {
    name: "group-successor-without-epoch",
    breaks: "A static member under a new id has its predecessor's epoch.",
    file: `${src}/group/assignments.ts`,
    replace: [["    member.epoch = predecessor.epoch;\n", ""]],
    tests: rules,
  },
  {
    name: "group-leaves-what-it-gives-back",
    breaks: "What a member that is gone had to give back is free.",
    file: `${src}/group/assignments.ts`,
    replace: [["[[...member.assigned], [...member.revoking]]", "[[...member.assigned]]"]],
    tests: rules,
  },
  {
    name: "group-revoked-too-early",
    breaks: "A partition is taken with the next assignment, not with the one before.",
    file: `${src}/group/member.ts`,
    replace: [
      [
        "      revision: this.#revision + 1,\n      deadlineMs",
        "      revision: this.#revision,\n      deadlineMs",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-temporary-leave-for-ever",
    breaks: "A static member that does not come back is expelled.",
    file: `${src}/group/group.ts`,
    replace: [
      [
        "      member.disconnected(now.monoMs);\n      this.#watch(member);\n",
        "      member.disconnected(now.monoMs);\n      this.#quietUntilMs = Number.MAX_VALUE;\n",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-keeps-for-ever",
    breaks: "A member that does not give back what was taken is expelled in time.",
    file: `${src}/group/group.ts`,
    replace: [
      [
        "    for (const member of this.#members.values()) this.#watch(member);\n    this.#finish(changes);",
        "    this.#finish(changes);",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-returns-keeping",
    breaks: "What a member that comes back does not own any more goes on.",
    file: `${src}/group/group.ts`,
    replace: [
      [
        "      if (!owned.has(topicId, partition)) this.#assignments.release(member, topicId, partition);\n",
        "",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-epoch-unrecorded",
    breaks: "The group epoch is recorded as it is.",
    file: `${src}/group/group.ts`,
    replace: [
      [
        "const value = { groupEpoch: this.#groupEpoch, emptySinceMs",
        "const value = { groupEpoch: this.#groupEpoch - 1, emptySinceMs",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-topics-ignored",
    breaks: "A topic that changes begins an epoch.",
    file: `${src}/group/group.ts`,
    replace: [["    if (!same) this.#begin(changes);\n", "    if (same) this.#begin(changes);\n"]],
    tests: rules,
  },
  {
    name: "group-subscription-ignored",
    breaks: "Another subscription begins an epoch.",
    file: `${src}/group/group.ts`,
    replace: [["if (!same || assignor !== this.assignor", "if (assignor !== this.assignor"]],
    tests: rules,
  },
  {
    name: "group-instance-taken",
    breaks: "Two members under one static name are refused.",
    file: `${src}/group/group.ts`,
    replace: [["if (predecessor.session !== undefined) {", "if (predecessor.session === -1) {"]],
    tests: rules,
  },
  {
    name: "group-instance-not-freed",
    breaks: "A static name is free once its member is gone.",
    file: `${src}/group/group.ts`,
    replace: [
      [
        "    if (instanceId !== undefined && this.#instances.get(instanceId) === memberId)\n      this.#instances.delete(instanceId);\n    changes",
        "    changes",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-members-beyond",
    breaks: "A group has at most so many members.",
    file: `${src}/group/group.ts`,
    replace: [
      [
        "this.#members.size >= this.#limits.membersMax",
        "this.#members.size > this.#limits.membersMax",
      ],
    ],
    tests: rules,
  },
  {
    name: "group-outside-with-members",
    breaks: "Nobody commits beside the members of a group.",
    file: `${src}/group/group.ts`,
    replace: [['    this.#refuseMembers("commit as one of them, or reset the offsets");\n', ""]],
    tests: rules,
  },
  {
    name: "group-deleted-with-members",
    breaks: "A group with members is not deleted.",
    file: `${src}/group/group.ts`,
    replace: [['    this.#refuseMembers("end them first");\n', ""]],
    tests: rules,
  },
  {
    name: "group-expired-while-read",
    breaks: "Offsets of a topic that a member reads are kept.",
    file: `${src}/group/offsets.ts`,
    replace: [["commitTimeMs < beforeMs && !isRead(topicId)", "commitTimeMs < beforeMs"]],
    tests: [`${src}/group/group.test.ts`],
  },
  {
    name: "group-expired-early",
    breaks: "Offsets are kept for the retention time after the last member left.",
    file: `${src}/group/group.ts`,
    replace: [
      ["if (this.#members.size > 0 || this.#emptySinceMs < beforeMs)", "if (beforeMs > 0)"],
    ],
    tests: rules,
  },
  {
    name: "group-metadata-unbounded",
    breaks: "Metadata of an offset is bounded.",
    file: `${src}/group/offsets.ts`,
    replace: [
      [
        "if (metadata.length <= max) return undefined;",
        "if (metadata.length >= 0) return undefined;",
      ],
    ],
    tests: [`${src}/group/group.test.ts`],
  },
  {
    name: "group-partition-unknown",
    breaks: "Offsets of partitions that do not exist are refused.",
    file: `${src}/group/offsets.ts`,
    replace: [["topic !== undefined && partition < topic.partitionCount", "topic !== undefined"]],
    tests: [`${src}/group/group.test.ts`],
  },
  {
    name: "group-told-before-committed",
    breaks: "Nobody is told anything before it is committed.",
    file: `${src}/runtime/shard-runner.ts`,
    replace: [["      if (upTo > this.#committed) break;\n", ""]],
    tests: [`${src}/runtime/shard-runner.test.ts`],
  },
  {
    name: "group-end-not-moved",
    breaks: "Each append expects the end that the one before it made.",
    file: `${src}/runtime/shard-runner.ts`,
    replace: [["        this.#endOffset += batch.length;\n", ""]],
    tests: [`${src}/runtime/shard-runner.test.ts`],
  },
  {
    name: "group-failure-survived",
    breaks: "After an append of unknown outcome nothing of the shard counts.",
    file: `${src}/runtime/shard-runner.ts`,
    replace: [
      [
        "    this.#end(stopped());\n    this.#setup.failed(error);",
        "    this.#setup.failed(error);",
      ],
    ],
    tests: [`${src}/runtime/shard-runner.test.ts`],
  },
  {
    name: "group-queue-unbounded",
    breaks: "Commands beyond the queue are refused.",
    file: `${src}/runtime/shard-runner.ts`,
    replace: [["if (this.#bytes > queueBytesMax) {", "if (this.#bytes < 0) {"]],
    tests: [`${src}/runtime/shard-runner.test.ts`],
  },
  {
    name: "group-append-unbounded",
    breaks: "Appends stay within their bytes.",
    file: `${src}/runtime/shard-runner.ts`,
    replace: [["if (count > 0 && bytes > this.#setup.limits.appendBytesMax) break;", ""]],
    tests: [`${src}/runtime/shard-runner.test.ts`],
  },
  {
    name: "group-key-without-partition",
    breaks: "Offsets of different partitions have different keys.",
    file: `${src}/shard/records.ts`,
    replace: [["  new DataView(rest.buffer).setUint32(16, record.partition);\n", ""]],
    tests: [`${src}/shard/world.test.ts`],
  },
  {
    name: "group-waits-for-the-nameless",
    breaks: "A member whose stream broke before it knew its id is not waited for.",
    file: `${src}/service/join-session.ts`,
    replace: [["isNew && subscription.instanceId === undefined", "false"]],
    tests: ["services/standalone/src/boot/groups.test.ts"],
  },
  {
    name: "group-forgets-the-named",
    breaks: "A member that has reported has its session timeout to come back.",
    file: `${src}/service/join-session.ts`,
    replace: [["      this.#isNameless = false;\n", ""]],
    tests: ["services/standalone/src/boot/groups.test.ts"],
  },
  {
    name: "group-offset-behind-the-end",
    breaks: "An offset behind the end of its partition is refused.",
    file: `${src}/cluster/cluster-ends.ts`,
    replace: [["if (offset <= end) return;", "if (offset >= 0) return;"]],
    tests: ["services/standalone/src/boot/groups.test.ts"],
  },
  {
    name: "group-topic-deleted",
    breaks: "The topic in which groups live is not deleted.",
    file: "services/controller/src/controller.ts",
    replace: [["    checkDeletion(request.name);\n", ""]],
    tests: ["services/controller/src/controller.test.ts"],
  },
  {
    name: "group-topic-grown",
    breaks: "The topic in which groups live gets no more partitions.",
    file: "services/controller/src/controller.ts",
    replace: [["    checkMorePartitions(request.name);\n", ""]],
    tests: ["services/controller/src/controller.test.ts"],
  },
  {
    name: "group-topic-shortened",
    breaks: "The topic in which groups live keeps all of its records.",
    file: "services/controller/src/system-topics.ts",
    replace: [["if (keeping.has(key)) throw", "if (key === name) throw"]],
    tests: ["services/controller/src/controller.test.ts"],
  },
];

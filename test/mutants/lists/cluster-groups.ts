/**
 * Bugs of group coordinators and of members, put into a cluster with groups: the simulation must
 * find each within 500 seeds. They belong to the list of `--cluster`.
 *
 * Not among them is that offsets are read from the memory of a coordinator that may have been
 * replaced: brokers name the new one before anybody asks the old one. Unit tests find that.
 */
import type { Mutant } from "../mutant.ts";

const coordinator = "services/group-coordinator/src";
const member = "packages/client/src/core";

const bug = (
  name: string,
  breaks: string,
  file: string,
  ...replace: readonly (readonly [from: string, to: string])[]
): Mutant => ({
  ...{ name: `cluster-groups-${name}`, breaks, file, replace },
  tests: ["test/simulation/groups.test.ts"],
  env: { MILLRACE_GROUP_SEEDS: "1:500" },
});

const ofCoordinators: readonly Mutant[] = [
  bug(
    "appends-without-a-condition",
    "A coordinator that was replaced cannot append.",
    `${coordinator}/cluster/cluster-log.ts`,
    ["      expectedEndOffset: BigInt(expectedEndOffset),\n", ""],
  ),
  bug(
    "expelled-member-commits",
    "The commit of a member that was expelled is refused.",
    `${coordinator}/group/group.ts`,
    [
      "    const member = this.#present(memberId, session);\n" +
        "    member.heard(now.monoMs);\n    const check",
      "    const member = this.#members.get(memberId);\n" +
        "    if (member === undefined) {\n" +
        "      const rules = { topics: this.#topics, check: () => undefined };\n" +
        "      return this.offsets.commit(offsets, rules, now, changes);\n" +
        "    }\n    const check",
    ],
    [
      "    this.#present(memberId, session).heard(now.monoMs);",
      "    if (this.#members.has(memberId)) this.#present(memberId, session).heard(now.monoMs);",
    ],
  ),
  bug(
    "given-before-it-is-given-back",
    "A partition goes on only once its owner has reported without it.",
    `${coordinator}/group/assignments.ts`,
    [
      "      member.revoke(topicId, partition, now.monoMs);\n",
      "      void now;\n      this.release(member, topicId, partition);\n",
    ],
  ),
  bug(
    "told-before-it-is-written",
    "A member is told what it owns once the log has it.",
    `${coordinator}/runtime/shard-runner.ts`,
    [
      "    this.#waiting.push({ upTo: this.#queued, pushes: changes.pushes,",
      "    for (const push of changes.pushes) this.#setup.push(push);\n" +
        "    this.#waiting.push({ upTo: this.#queued, pushes: [],",
    ],
  ),
  bug(
    "answered-before-it-is-written",
    "A commit is acknowledged once the log has it.",
    `${coordinator}/runtime/shard-runner.ts`,
    [
      "    this.#waiting.push({ upTo: this.#queued, pushes: changes.pushes,",
      "    if (offsets > 0) done();\n" +
        "    this.#waiting.push({ upTo: this.#queued, pushes: changes.pushes,",
    ],
  ),
  bug(
    "session-without-end-after-a-load",
    "A coordinator that takes over expels members that do not come back.",
    `${coordinator}/group/group.ts`,
    [
      "      member.heard(now.monoMs);\n      this.#watch(member);\n    }\n  }\n\n  #replayMember",
      "      member.heard(Number.MAX_SAFE_INTEGER);\n      this.#watch(member);\n    }\n  }\n\n" +
        "  #replayMember",
    ],
  ),
  bug(
    "offsets-forgotten-at-a-load",
    "A coordinator that takes over knows what is committed.",
    `${coordinator}/group/group.ts`,
    ["      this.offsets.replay(record);\n", "      void record;\n"],
  ),
  bug("two-owners", "A partition has one owner.", `${coordinator}/group/assignments.ts`, [
    "if (member === undefined || this.#owners.has(topicId, partition)) return;",
    "if (member === undefined) return;",
  ]),
  bug(
    "predecessor-stays",
    "A static member's earlier process is no member any more.",
    `${coordinator}/group/group.ts`,
    ["    this.#forget(predecessor, changes);\n", ""],
  ),
  bug(
    "report-of-before",
    "Only a report on the assignment that took a partition frees it.",
    `${coordinator}/group/member.ts`,
    ["revoked.revision <= revision && !owned", "!owned"],
  ),
  bug("reset-undone", "A commit of before a reset is refused.", `${coordinator}/group/group.ts`, [
    "if (!member.isResetting(topicId, partition)) return undefined;",
    "return undefined;",
  ]),
];

const ofMembers: readonly Mutant[] = [
  bug(
    "given-back-without-a-commit",
    "What was processed is committed before its partition is given back.",
    `${member}/group/reconciler.ts`,
    ['    await this.#commit(told.filter(({ phase }) => phase === "leaving"));\n', ""],
  ),
  bug(
    "given-back-in-the-middle",
    "A partition is given back once the loop has done with its record.",
    `${member}/group/reconciler.ts`,
    ["    await this.#settle(told);\n", ""],
  ),
  bug(
    "commits-what-is-in-hand",
    "A record counts as processed once the loop asks for the next one.",
    `${member}/consumer/in-hand.ts`,
    [
      "return cursor === this.#cursor ? this.#offset : BigInt(cursor.position);",
      "return BigInt(cursor.position);",
    ],
  ),
];

export const clusterGroupBugs: readonly Mutant[] = [...ofCoordinators, ...ofMembers];

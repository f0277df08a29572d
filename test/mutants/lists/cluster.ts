/**
 * Bugs that replicated systems have had, put into a cluster of three: the simulation must find each
 * within 500 seeds. Apart from the other mutants, for one takes minutes.
 *
 * Not among them is what did no harm in 240 to 750 seeds, because something else stands in its way.
 * Unit tests find those: `deposed-controller-writes`, `registration-unchecked`,
 * `in-sync-answer-lost-is-a-refusal`, `leads-while-its-log-is-cut`, `known-epoch-led-in`,
 * `restored-epochs-not-raised`, `earlier-life-of-a-replica-counts`.
 */
import type { Mutant } from "../mutant.ts";
import { clusterGroupBugs } from "./cluster-groups.ts";

const partitions = "services/broker/src/partitions";
const replication = "services/broker/src/replication";
const controller = "services/controller/src";

const bug = (
  name: string,
  breaks: string,
  file: string,
  ...replace: readonly (readonly [from: string, to: string])[]
): Mutant => ({
  ...{ name: `cluster-${name}`, breaks, file, replace },
  tests: ["test/simulation/cluster.test.ts"],
  env: { MILLRACE_CLUSTER_SEEDS: "1:500" },
});

export const clusterBugs: readonly Mutant[] = [
  ...clusterGroupBugs,
  bug(
    "acks-at-own-durability",
    "An acknowledged record is on every replica in sync.",
    `${partitions}/leader.ts`,
    ["inSync.committedEnd(log.ackedEndOffset)", "log.ackedEndOffset"],
  ),
  bug(
    "durable-before-fsync",
    "What a follower reports is fsynced.",
    `${replication}/follower-stream.ts`,
    [
      "state.reportedEnd = partition.log.ackedEndOffset",
      "state.reportedEnd = partition.log.logEndOffset",
    ],
    [
      "partition.log.ackedEndOffset <= state.reportedEnd",
      "partition.log.logEndOffset <= state.reportedEnd",
    ],
  ),
  bug(
    "no-truncation",
    "What differs from the leader's log is cut off before anything is appended behind it.",
    `${replication}/agreement.ts`,
    [
      "if (leaderEpoch === lastEpoch && logEndOffset <= endOffset) return undefined;",
      "if (logEndOffset <= leader.logEndOffset) return undefined;",
    ],
  ),
  bug(
    "truncates-to-own-high-watermark",
    "A follower cuts where the logs differ, not at its own high watermark, which is behind.",
    `${replication}/follower-stream.ts`,
    ["if (hasEmptyEpoch(log)) {", "if (log.logEndOffset > log.highWatermark) {"],
    ["() => log.truncateTo(log.logEndOffset)", "() => log.truncateTo(log.highWatermark)"],
  ),
  bug(
    "minimum-ignored",
    "Nothing is acknowledged by fewer replicas than min.insync.replicas.",
    `${partitions}/replica.ts`,
    [
      "return this.#view.isr.length >= this.minInsyncReplicas;",
      "return this.#view.isr.length > 0;",
    ],
  ),
  bug(
    "epochs-not-raised",
    "The leader epoch rises with every term.",
    `${controller}/leadership.ts`,
    ["record.leaderEpoch + (isNewTerm ? 1 : 0)", "record.leaderEpoch"],
  ),
  bug(
    "unclean-election",
    "Only replicas that have everything are elected.",
    `${controller}/leadership.ts`,
    ["firstOf(record.isr) ?? firstOf(elr)", "firstOf(record.isr) ?? firstOf(record.replicas)"],
  ),
  bug(
    "elr-while-committing",
    "A replica that has left counts as complete only while the high watermark stands still.",
    `${controller}/leadership.ts`,
    ["  if (isr.length >= min) return [];", "  if (isr.length > min) return [];"],
    [
      "record.isr.length < min && record.minIsrEpoch",
      "record.isr.length <= min && record.minIsrEpoch",
    ],
  ),
  bug(
    "joiners-do-not-count",
    "Who joins holds the high watermark back from the request on.",
    `${partitions}/in-sync.ts`,
    [
      "this.#counting = [...isr, ...added].filter",
      "this.#counting = [...isr, ...added.slice(9)].filter",
    ],
  ),
  bug(
    "leavers-leave-at-the-request",
    "Who leaves holds the high watermark back until the record says otherwise.",
    `${partitions}/in-sync.ts`,
    [
      "this.#counting = [...isr, ...added].filter",
      "this.#counting = [...(this.#pending?.change.isr ?? isr), ...added].filter",
    ],
  ),
  bug(
    "joins-early",
    "A follower joins once it has everything from before the epoch.",
    `${partitions}/in-sync.ts`,
    ["known.durableEnd >= Math.max(highWatermark, this.#epochStart)", "known.durableEnd >= 0"],
  ),
  bug(
    "old-registration-leads",
    "A broker leads only under the registration that the epoch was given to.",
    `${partitions}/replica.ts`,
    ["leader === brokerId && elected >= brokerEpoch()", "leader === brokerId && elected >= 0"],
    [
      "this.#isElected() && this.#context.epochFloors.allows(this, this.#view.leaderEpoch)",
      "this.#isElected()",
    ],
  ),
  bug(
    "old-leader-goes-on",
    "A leader that a newer view replaces ends at once.",
    `${partitions}/replica.ts`,
    [
      "view.leader === before.leader &&\n      view.leaderEpoch === before.leaderEpoch &&",
      "view.leader !== undefined &&",
    ],
  ),
  bug(
    "condition-before-the-queue",
    "Where an append expects the log to end is compared in the step of the append.",
    "services/broker/src/produce/appender.ts",
    [
      "      const waiting = this.#pendingValidation.get(replica);",
      "      const waiting = this.#pendingValidation.get(replica);\n" +
        "      const end = replica.log?.logEndOffset;\n" +
        "      if (append.expectedEndOffset === end)\n" +
        "        (append as { expectedEndOffset: unknown }).expectedEndOffset = undefined;",
    ],
  ),
  bug(
    "condition-on-the-high-watermark",
    "An append expects the end of the log, not of what is committed.",
    `${partitions}/leader.ts`,
    ["expectedEndOffset === this.log.logEndOffset", "expectedEndOffset === this.log.highWatermark"],
  ),
  bug(
    "condition-before-duplicates",
    "An append that comes again is recognised before its condition is looked at.",
    `${partitions}/leader.ts`,
    ["this.#append(onlyIfKnown(batch, refusal), append);", "throw refusal;"],
  ),
  bug(
    "mismatch-told-at-once",
    "Where a loser is told that the log ends, it will be able to read.",
    `${partitions}/leader.ts`,
    ["thrown !== refusal || this.log.highWatermark >= logEndOffset", "thrown !== undefined"],
  ),
  bug(
    "empty-epoch-kept",
    "An epoch that a follower led in without a record is forgotten before it follows.",
    `${replication}/follower-stream.ts`,
    ["if (hasEmptyEpoch(log)) {", "if (log.logEndOffset < 0) {"],
  ),
  bug(
    "directories-ignored",
    "A broker that comes back with an empty disk is not believed to have what it had.",
    `${controller}/directories.ts`,
    ["  return known.length === 0 || isSame(", "  return known.length >= 0 || isSame("],
  ),
  bug(
    "compaction-hides-deletions",
    "A process that lists again after a compaction drops what was deleted meanwhile.",
    "packages/metadata/src/listing.ts",
    [
      "    if (!kvs.has(kv.key)) events.push(deletion(kv, revision));",
      "    if (kvs.size < 0) events.push(deletion(kv, revision));",
    ],
  ),
  bug(
    "absent-topics-are-deleted",
    "A log of a topic that the metadata do not know is kept: the store may be an old one.",
    `${partitions}/deletions.ts`,
    [
      "if (deletions.has(topicId)) await this.#delete(log);",
      "if (deletions.has(topicId) || !this.#isExplained(log, snapshot)) await this.#delete(log);",
    ],
  ),
  bug(
    "producer-ids-given-again",
    "After a restore no producer id is given a second time.",
    `${controller}/producer-ids.ts`,
    ["record === undefined || record.generation !== generation", "record === undefined"],
  ),
  bug(
    "lost-lease-keeps-its-epoch",
    "A broker whose lease has ended has another epoch once it has registered anew.",
    "packages/metadata/src/registration.ts",
    ["    this.#epoch = epoch;", "    this.#epoch ||= epoch;"],
  ),
  bug(
    "lost-lease-unnoticed",
    "A broker whose lease has ended registers anew.",
    "packages/metadata/src/leased-key.ts",
    ["return kv?.createRevision === createRevision && kv.lease === lease.id;", "return true;"],
    [
      "!(await store.keepAlive(lease.id, { timeoutMs }))) return false;",
      "!(await store.keepAlive(lease.id, { timeoutMs }))) return true;",
    ],
  ),
];

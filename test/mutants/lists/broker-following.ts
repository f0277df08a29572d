/** Mutants of following: the roles of a replica, and which leaders a broker follows. */
import type { Mutant } from "../mutant.ts";

const src = "services/broker/src/";
const replica = `${src}partitions/replica.ts`;
const replicaFollowing = `${src}partitions/following.ts`;
const replicaTests = [`${src}partitions/replica-following.test.ts`];
const followers = `${src}replication/followers.ts`;
const followersTests = [`${src}replication/followers.test.ts`];

const roles: readonly Mutant[] = [
  {
    name: "follows-on-after-a-new-view",
    breaks: "Another leader or epoch ends following at once.",
    file: replica,
    replace: [
      [
        "    else this.#following.end();\n    this.#askNoMore();\n    if",
        "    this.#askNoMore();\n    if",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "follows-on-after-a-new-epoch",
    breaks: "Another epoch of the same leader is followed anew.",
    file: replica,
    replace: [["      view.leaderEpoch === before.leaderEpoch &&\n", ""]],
    tests: replicaTests,
  },
  {
    name: "follows-twice-in-a-term",
    breaks: "A leader is followed once in a term.",
    file: replicaFollowing,
    replace: [["    if (this.#followed !== undefined) return;\n", ""]],
    tests: replicaTests,
  },
  {
    name: "followed-forgotten",
    breaks: "Following ends where it began.",
    file: replicaFollowing,
    replace: [["    this.#followed = { leader, partition };\n", ""]],
    tests: replicaTests,
  },
  {
    name: "unfollowed-is-still-followed",
    breaks: "A partition that was unfollowed is followed again in the next term.",
    file: replicaFollowing,
    replace: [["    this.#followed = undefined;\n", ""]],
    tests: replicaTests,
  },
  {
    name: "leads-for-an-earlier-process",
    breaks: "A replica leads only under the registration that it was elected under.",
    file: replica,
    replace: [["leader === brokerId && elected >= brokerEpoch()", "leader === brokerId"]],
    tests: replicaTests,
  },
  {
    name: "leads-under-no-later-registration",
    breaks: "A view may be ahead of what the process knows of its registration.",
    file: replica,
    replace: [["elected >= brokerEpoch()", "elected === brokerEpoch()"]],
    tests: replicaTests,
  },
  {
    name: "leads-without-being-in-sync",
    breaks: "A replica that is not in sync does not lead.",
    file: replica,
    replace: [
      [
        "isrBrokerEpochs[isr.indexOf(brokerId)] ?? 0",
        "isrBrokerEpochs[isr.indexOf(brokerId)] ?? Infinity",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "leads-while-its-log-is-cut",
    breaks: "A replica leads or follows once a cut has ended.",
    file: replica,
    replace: [["    if (cutting !== undefined) await cutting;\n", ""]],
    tests: replicaTests,
  },
  {
    name: "leads-after-a-cut-of-another-term",
    breaks: "What waited for a cut goes on only in the term that it began in.",
    file: replica,
    replace: [
      [
        "    if (generation !== this.#generation) return;\n    const state = this.#state;",
        "    const state = this.#state;",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "cut-forgotten",
    breaks: "A cut under way is waited for.",
    file: replicaFollowing,
    replace: [["    this.#cutting = whole;\n", "    void whole;\n"]],
    tests: replicaTests,
  },
  {
    name: "cut-waited-for-for-ever",
    breaks: "A cut that has ended is forgotten.",
    file: replicaFollowing,
    replace: [
      ["      if (this.#cutting === whole) this.#cutting = undefined;\n", "      void whole;\n"],
    ],
    tests: replicaTests,
  },
  {
    name: "older-record-in-the-same-term",
    breaks: "A record that is older ends the term.",
    file: replica,
    replace: [["      view.modRevision >= before.modRevision;", "      view.modRevision >= 0;"]],
    tests: replicaTests,
  },
  {
    name: "offline-partition-followed",
    breaks: "A partition that goes offline is followed no more.",
    file: replica,
    replace: [["      this.#following.end();\n", ""]],
    tests: replicaTests,
  },
  {
    name: "given-up-partition-followed",
    breaks: "A partition that is given up is followed no more.",
    file: replica,
    replace: [
      [
        "    else this.#following.end();\n    this.#askNoMore();\n    this.#wake",
        "    this.#askNoMore();\n    this.#wake",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "stopped-log-follows",
    breaks: "A stopped log is not followed.",
    file: replica,
    replace: [[' || state.log.state.kind !== "online"', ""]],
    tests: replicaTests,
  },
  {
    name: "followers-sleep-through-an-append",
    breaks: "An append wakes the sessions of followers.",
    file: replica,
    replace: [
      [
        "    if (this.#appendWaiters.size > 0) wakeAll(this.#appendWaiters);\n  }\n\n  /** Calls",
        "  }\n\n  /** Calls",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "append-wakes-consumers",
    breaks: "An append wakes no consumer.",
    file: replica,
    replace: [
      [
        "    leader.append(batch, append);\n",
        "    leader.append(batch, append);\n    wakeAll(this.#waiters);\n",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "followers-sleep-through-progress",
    breaks: "Progress, and a change of role, wakes the sessions of followers.",
    file: replica,
    replace: [
      [
        "  #wake(): void {\n    if (this.#appendWaiters.size > 0) wakeAll(this.#appendWaiters);\n",
        "  #wake(): void {\n",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "followers-woken-after-they-stopped",
    breaks: "A session that stopped waiting is not woken.",
    file: replica,
    replace: [
      [
        "return () => this.#appendWaiters.delete(wake);",
        "return () => this.#waiters.delete(wake);",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "stranger-counts",
    breaks: "The word of a stranger counts for nothing, and it is told so.",
    file: replica,
    replace: [
      ["log.logEndOffset, nowMs)) return false;", "log.logEndOffset, nowMs)) return true;"],
    ],
    tests: replicaTests,
  },
  {
    name: "reports-do-not-move-the-high-watermark",
    breaks: "A report of a follower moves the high watermark.",
    file: replica,
    replace: [["    state.progress(this.#hasMinInsync());\n    if (!inSync", "    if (!inSync"]],
    tests: replicaTests,
  },
  {
    name: "reports-move-it-below-the-minimum",
    breaks: "The high watermark stands still below min.insync.replicas.",
    file: replica,
    replace: [
      [
        "        state.progress(this.#hasMinInsync());\n        if (logState",
        "        state.progress(true);\n        if (logState",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "caught-up-replica-unseen",
    breaks: "A replica out of sync that catches up has its leader look for changes.",
    file: replica,
    replace: [["    if (!inSync.isMember(follower)) this.#context.changes.look(this);\n", ""]],
    tests: replicaTests,
  },
  {
    name: "member-has-its-leader-look",
    breaks: "A report of a replica in sync is no reason to look for changes.",
    file: replica,
    replace: [["    if (!inSync.isMember(follower)) this", "    this"]],
    tests: replicaTests,
  },
  {
    name: "registrations-not-looked-at",
    breaks: "A new record or registration has a leader look for changes.",
    file: replica,
    replace: [
      [
        "      state.inSync.take(this.#inSyncView());\n      this.#context.changes.look(this);",
        "      state.inSync.take(this.#inSyncView());",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "registrations-not-taken",
    breaks: "A replica that leaves the record holds the high watermark back no more.",
    file: replica,
    replace: [["      state.inSync.take(this.#inSyncView());\n", ""]],
    tests: replicaTests,
  },
  {
    name: "followers-known-from-an-earlier-term",
    breaks: "Nothing of an earlier term is known in the next, nor what was asked for in it.",
    file: replica,
    replace: [
      ["const inSync = new InSyncReplicas", "const inSync = this.#kept ??= new InSyncReplicas"],
      ["  #generation = 0;\n", "  #generation = 0;\n  #kept: InSyncReplicas | undefined;\n"],
    ],
    tests: replicaTests,
  },
  {
    name: "end-of-an-earlier-terms-change",
    breaks: "The end of a change of another epoch changes nothing.",
    file: replica,
    replace: [
      [
        '    if (state.kind !== "leader" || state.epoch !== leaderEpoch) return;',
        '    if (state.kind !== "leader" || leaderEpoch < 0) return;',
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "end-of-a-change-does-not-move-the-high-watermark",
    breaks: "A change that ends lets the high watermark rise.",
    file: replica,
    replace: [
      [
        "    state.inSync.end(change, outcome);\n    this.#progress();",
        "    state.inSync.end(change, outcome);",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "change-counts-only-later",
    breaks: "A change counts from the moment it is asked for.",
    file: replica,
    replace: [["    inSync.begin(change);\n", ""]],
    tests: replicaTests,
  },
  {
    name: "lone-replica-looks-for-changes",
    breaks: "A partition with one replica has no changes to look for.",
    file: replica,
    replace: [["    if (this.#view.replicas.length > 1) changes", "    changes"]],
    tests: replicaTests,
  },
  {
    name: "leader-looks-for-no-changes",
    breaks: "Changes are looked for while a replica leads others.",
    file: replica,
    replace: [
      ["    if (this.#view.replicas.length > 1) changes.add(this);\n", "    void changes;\n"],
    ],
    tests: replicaTests,
  },
  {
    name: "changes-outlive-the-leader",
    breaks: "A leader that resigns looks for no changes.",
    file: replica,
    replace: [
      [
        "    this.#state = to;\n    this.#context.changes.remove(this);\n",
        "    this.#state = to;\n",
      ],
    ],
    tests: replicaTests,
  },
];

const closing: readonly Mutant[] = [
  {
    name: "close-does-not-wait-for-cuts",
    breaks: "A close of all replicas waits for their cuts.",
    file: `${src}partitions/replica-manager.ts`,
    replace: [["[...deleting, ...replicas.map(({ cutting }) => cutting)]", "deleting"]],
    tests: replicaTests,
  },
];

const following: readonly Mutant[] = [
  {
    name: "stream-for-each-partition",
    breaks: "There is one stream for each leader.",
    file: followers,
    replace: [
      ["    if (stream === undefined) {", "    if (stream === undefined || stream.size > 0) {"],
    ],
    tests: followersTests,
  },
  {
    name: "stream-outlives-its-partitions",
    breaks: "A stream ends with its last partition.",
    file: followers,
    replace: [["    if (stream?.size === 0) {", "    if (stream?.size === -1) {"]],
    tests: followersTests,
  },
  {
    name: "stream-that-ended-is-used-again",
    breaks: "A partition that comes later gets a new stream.",
    file: followers,
    replace: [["      this.#streams.delete(leader);\n", ""]],
    tests: followersTests,
  },
  {
    name: "stream-to-where-the-leader-was",
    breaks: "An address that changes is dialed at the next attempt.",
    file: followers,
    replace: [
      [
        "const endpoint = view.current.brokers.get(leader)?.internalEndpoint;",
        "this.#brokers ??= view.current.brokers;\n    const endpoint = this.#brokers.get(leader)?.internalEndpoint;",
      ],
      [
        "  #isClosed = false;",
        '  #brokers: ClusterView["current"]["brokers"] | undefined;\n  #isClosed = false;',
      ],
    ],
    tests: followersTests,
  },
  {
    name: "followers-hide-the-cut",
    breaks: "Unfollowing tells of the cut under way.",
    file: followers,
    replace: [["    return cutting;\n", "    return undefined;\n"]],
    tests: followersTests,
  },
  {
    name: "followers-close-without-unfollowed-cuts",
    breaks: "A close waits for cuts of partitions that are followed no more.",
    file: followers,
    replace: [["    if (cutting !== undefined) this.#waitFor(cutting);\n", ""]],
    tests: followersTests,
  },
  {
    name: "followers-close-without-streams",
    breaks: "A close ends all streams, and waits for their cuts.",
    file: followers,
    replace: [["[...streams, ...this.#ending]", "[...this.#ending]"]],
    tests: followersTests,
  },
  {
    name: "followed-after-a-close",
    breaks: "Nobody is followed after a close.",
    file: followers,
    replace: [["    if (this.#isClosed) return;\n", ""]],
    tests: followersTests,
  },
];

export const followingMutants: readonly Mutant[] = [...roles, ...closing, ...following];

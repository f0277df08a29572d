/** Mutants of replication: who counts, whether logs agree, and what goes over the stream. */
import type { Mutant } from "../mutant.ts";

const inSync = "services/broker/src/partitions/in-sync.ts";
const inSyncTests = ["services/broker/src/partitions/in-sync.test.ts"];
const at = "services/broker/src/replication/";
const agreementTests = [`${at}agreement.test.ts`];
const streamTests = [`${at}replication.test.ts`, `${at}leader-session.test.ts`];
const replicated = "packages/log/src/partition/replicated.ts";
const replicatedTests = ["packages/log/src/partition/replicated.test.ts"];

const counting: readonly Mutant[] = [
  {
    name: "silence-before-an-append-is-lag",
    breaks:
      "A follower that had everything lags from the next append on, however long ago it spoke.",
    file: inSync,
    replace: [["    this.#look(leaderEnd, nowMs);\n", ""]],
    tests: inSyncTests,
  },
  {
    name: "made-change-awaited-for-ever",
    breaks: "A change that a store which has gone back does not know is asked for again.",
    file: inSync,
    replace: [["return isAwaited || isUnderWay", "return isMade || isUnderWay"]],
    tests: inSyncTests,
  },
  {
    name: "made-change-ended-by-a-refusal",
    breaks: "What was made counts until the view shows it, also when it is asked for again.",
    file: inSync,
    replace: [["pending.isDoubtful ||= pending.isMade;", ""]],
    tests: inSyncTests,
  },
  {
    name: "term-of-before-goes-on",
    breaks: "A leader that begins anew in its epoch hears of its followers anew.",
    file: `${at}leader-session.ts`,
    replace: [
      [
        "if (partition.requireLeader(leaderEpoch) === term) return;",
        "if (partition.requireLeader(leaderEpoch).log === term.log) return;",
      ],
    ],
    tests: streamTests,
  },
  {
    name: "asked-for-replica-does-not-count",
    breaks: "Who joins counts from the request on.",
    file: inSync,
    replace: [
      ["this.#pending?.change.isr.filter((one) => !has(isr, one)) ?? []", "[] as InSyncReplica[]"],
    ],
    tests: inSyncTests,
  },
  {
    name: "lost-answer-is-a-refusal",
    breaks: "A change whose answer is lost counts until the view says otherwise.",
    file: inSync,
    replace: [['    else if (outcome === "unknown") pending.isDoubtful = true;\n', ""]],
    tests: inSyncTests,
  },
  {
    name: "registration-ends-a-change",
    breaks: "A change of registrations that it does not name says nothing of a change under way.",
    file: inSync,
    replace: [
      ["this.#pending !== undefined && !this.#mayBeMade(this.#pending.change)", "this.#pending"],
    ],
    tests: inSyncTests,
  },
  {
    name: "earlier-life-of-a-replica-counts",
    breaks: "What a broker had before it registered anew counts for nothing.",
    file: inSync,
    replace: [
      ["known?.brokerEpoch === brokerEpoch ? known.durableEnd : 0", "known?.durableEnd ?? 0"],
    ],
    tests: inSyncTests,
  },
  {
    name: "claim-of-more-than-there-is",
    breaks: "A claim of more than there is counts for nothing.",
    file: inSync,
    replace: [["    if (durableEnd > leaderEnd) return false;\n", ""]],
    tests: inSyncTests,
  },
  {
    name: "joins-without-the-epoch-before",
    breaks: "A follower joins with all from before the epoch.",
    file: inSync,
    replace: [["Math.max(highWatermark, this.#epochStart)", "highWatermark"]],
    tests: inSyncTests,
  },
  {
    name: "joins-below-the-high-watermark",
    breaks: "A follower joins with all that is committed.",
    file: inSync,
    replace: [["Math.max(highWatermark, this.#epochStart)", "this.#epochStart"]],
    tests: inSyncTests,
  },
  {
    name: "fenced-replica-joins",
    breaks: "A fenced follower does not join.",
    file: inSync,
    replace: [
      [
        "if (known === undefined || this.#view.registered(brokerId) !== known.brokerEpoch)",
        "if (known === undefined)",
      ],
    ],
    tests: inSyncTests,
  },
  {
    name: "lagging-member-stays",
    breaks: "Who lags leaves.",
    file: inSync,
    replace: [["joining === undefined || has(isr, joining)", "joining === undefined"]],
    tests: inSyncTests,
  },
  {
    name: "keeping-up-is-lag",
    breaks: "A follower that keeps up with a leader that goes on does not lag.",
    file: inSync,
    replace: [
      [
        "    else if (before.durableEnd >= before.leaderEndThen) before.caughtUpMs = before.reportedMs;\n",
        "",
      ],
    ],
    tests: inSyncTests,
  },
];

const agreeing: readonly Mutant[] = [
  {
    name: "longer-follower-agrees",
    breaks: "A follower that is ahead of its leader in one epoch cuts what the leader lacks.",
    file: `${at}agreement.ts`,
    replace: [
      ["leaderEpoch === lastEpoch && logEndOffset <= endOffset", "leaderEpoch === lastEpoch"],
    ],
    tests: agreementTests,
  },
  {
    name: "other-epoch-agrees",
    breaks: "An epoch that the leader does not know is cut.",
    file: `${at}agreement.ts`,
    replace: [
      ["leaderEpoch === lastEpoch && logEndOffset <= endOffset", "logEndOffset <= endOffset"],
    ],
    tests: agreementTests,
  },
  {
    name: "follower-cuts-by-the-leader-alone",
    breaks: "A follower cuts to the end of the epoch in its own log (KIP-279).",
    file: `${at}agreement.ts`,
    replace: [["Math.min(own, endOffset, logEndOffset)", "Math.min(endOffset, logEndOffset)"]],
    tests: agreementTests,
  },
  {
    name: "follower-never-keeps",
    breaks: "A replica that counts as complete follows a leader that began anew where it ends.",
    file: `${at}agreement.ts`,
    replace: [['isCommitted ? "keep" : "rebuild"', '"rebuild"']],
    tests: agreementTests,
  },
  {
    name: "follower-keeps-what-may-not-be-committed",
    breaks: "Below its leader's log start a follower keeps only what is committed.",
    file: `${at}agreement.ts`,
    replace: [["committedEnd === logStartOffset &&", "committedEnd !== undefined &&"]],
    tests: agreementTests,
  },
  {
    name: "follower-keeps-across-an-unclean-election",
    breaks: "What was committed before an unclean election is not kept for being committed.",
    file: `${at}follower-stream.ts`,
    replace: [["isOlder ? undefined : log.highWatermark", "log.highWatermark"]],
    tests: [`${at}follower-stream.test.ts`],
  },
  {
    name: "kept-log-asks-as-before",
    breaks: "A follower that keeps its log asks for what follows, whatever is below.",
    file: `${at}follower-stream.ts`,
    replace: [["...(isKept ? { lastEpoch: undefined } : {})", "...{}"]],
    tests: [`${at}follower-stream.test.ts`],
  },
  {
    name: "kept-log-never-differs",
    breaks: "What a follower got behind what it kept can differ from its leader's.",
    file: `${at}follower-stream.ts`,
    replace: [[" && end.logEndOffset === followed.keptEnd", ""]],
    tests: [`${at}follower-stream.test.ts`],
  },
  {
    name: "empty-epoch-is-kept",
    breaks: "An epoch in which a follower led and has nothing is cut off before it follows.",
    file: `${at}agreement.ts`,
    replace: [
      [
        "  log.leaderEpoch > (endOf(log).lastEpoch ?? 0);",
        "  log.leaderEpoch < (endOf(log).lastEpoch ?? 0);",
      ],
    ],
    tests: agreementTests,
  },
  {
    name: "follower-before-the-log-start",
    breaks: "A follower that ends before its leader's log begins anew where that begins.",
    file: `${at}agreement.ts`,
    replace: [["  if (logEndOffset < logStartOffset) {", "  if (logEndOffset < 0) {"]],
    tests: agreementTests,
  },
  {
    name: "deleted-records-are-vouched-for",
    breaks: "A follower that may differ in what its leader has deleted begins anew.",
    file: `${at}agreement.ts`,
    replace: [["  if (!vouchesFor(leader, leaderEpoch, endOffset)) {", "  if (endOffset < 0) {"]],
    tests: agreementTests,
  },
  {
    name: "epoch-that-ended-at-the-log-start-is-vouched-for",
    breaks: "An epoch whose end lies at the log start may have ended before it.",
    file: `${at}agreement.ts`,
    replace: [["|| endOffset > logStartOffset) return", "|| endOffset >= logStartOffset) return"]],
    tests: agreementTests,
  },
  {
    name: "leader-that-began-anew-vouches",
    breaks: "A leader that began anew knows nothing of what was before.",
    file: `${at}agreement.ts`,
    replace: [["return before > 0 && before <= leaderEpoch;", "return before <= leaderEpoch;"]],
    tests: agreementTests,
  },
  {
    name: "later-epoch-before-the-log-start-is-no-matter",
    breaks: "An epoch ended before the log start where a later one has the record before it.",
    file: `${at}agreement.ts`,
    replace: [["return before > 0 && before <= leaderEpoch;", "return before > 0;"]],
    tests: agreementTests,
  },
  {
    name: "epoch-that-reached-the-log-start-begins-anew",
    breaks: "What a leader knows to be equal up to its log start is kept.",
    file: `${at}agreement.ts`,
    replace: [["return before > 0 && before <= leaderEpoch;", "return before < 0;"]],
    tests: agreementTests,
  },
];

const streams: readonly Mutant[] = [
  {
    name: "too-many-refusals-in-a-message",
    breaks: "A message has no more refusals than a follower decodes.",
    file: `${at}leader-session.ts`,
    replace: [["this.#refusals.splice(0, limits.changesPerMessage)", "this.#refusals.splice(0)"]],
    tests: streamTests,
  },
  {
    name: "too-many-subscriptions-in-a-message",
    breaks: "Thousands of partitions are subscribed in several messages.",
    file: `${at}follower-stream.ts`,
    replace: [["[...this.#ready].slice(0, limits.changesPerMessage)", "[...this.#ready]"]],
    tests: streamTests,
  },
  {
    name: "follower-ends-inside-a-batch",
    breaks: "A log that ends inside of the leader's first batch begins anew.",
    file: `${at}leader-session.ts`,
    replace: [["if (divergence === undefined && isInside) {", "if (divergence === undefined) {"]],
    tests: streamTests,
  },
  {
    name: "empty-follower-never-in-sync",
    breaks: "A follower of an empty log is in sync with its subscription.",
    file: `${at}leader-session.ts`,
    replace: [[" || log.logEndOffset === logEndOffset;", ";"]],
    tests: streamTests,
  },
  {
    name: "claim-past-what-was-sent",
    breaks: "A follower that claims more than it was sent counts for nothing.",
    file: `${at}leader-session.ts`,
    replace: [["      if (durableEndOffset > sentEnd) {", "      if (durableEndOffset < 0) {"]],
    tests: streamTests,
  },
  {
    name: "follower-window-ignored",
    breaks: "A leader sends no more than the window.",
    file: `${at}leader-session.ts`,
    replace: [["|| this.#sentBytes >= this.#windowBytes", "|| this.#sentBytes < 0"]],
    tests: streamTests,
  },
  {
    name: "follower-window-never-opens",
    breaks: "A leader goes on once bytes are given back.",
    file: `${at}leader-session.ts`,
    replace: [["      this.#sentBytes = Math.max(0, this.#sentBytes - windowBytes);\n", ""]],
    tests: streamTests,
  },
  {
    name: "follower-of-an-earlier-registration",
    breaks: "A stream of a registration that is over is refused.",
    file: `${at}leader-session.ts`,
    replace: [["    if (brokerEpoch < known) throw", "    if (known < 0) throw"]],
    tests: streamTests,
  },
  {
    name: "follower-behind-the-cache-waits",
    breaks: "A follower that was away for long is read from files.",
    file: `${at}leader-session.ts`,
    replace: [["      this.#behind.push(subscription);\n", ""]],
    tests: streamTests,
  },
  {
    name: "high-watermark-not-told",
    breaks: "A follower hears of the high watermark also where no batch follows.",
    file: `${at}leader-session.ts`,
    replace: [["    return subscription.isDue;\n", "    return false;\n"]],
    tests: streamTests,
  },
  {
    name: "high-watermark-put-off-for-ever",
    breaks: "A high watermark that was put off is told, though no batch comes.",
    file: `${at}leader-session.ts`,
    replace: [["        one.isDue = true;\n", ""]],
    tests: streamTests,
  },
  {
    name: "high-watermark-told-each-time",
    breaks: "The high watermarks of many commits are told together.",
    file: `${at}leader-session.ts`,
    replace: [["    return subscription.isDue;\n", "    return true;\n"]],
    tests: streamTests,
  },
  {
    name: "log-start-put-off",
    breaks: "Followers hear of a log start at once.",
    file: `${at}leader-session.ts`,
    replace: [
      [
        "    if (logStartOffset !== subscription.toldLogStart) return true;\n",
        "    if (logStartOffset < subscription.toldLogStart) return true;\n",
      ],
    ],
    tests: streamTests,
  },
  {
    name: "window-given-back-with-reports-alone",
    breaks: "A quarter of the window is given back at once.",
    file: `${at}follower-stream.ts`,
    replace: [["return this.#returnedBytes > this.#windowBytes / 4;", "return false;"]],
    tests: [`${at}follower-stream.test.ts`],
  },
  {
    name: "window-given-back-each-time",
    breaks: "What is given back goes along with the report.",
    file: `${at}follower-stream.ts`,
    replace: [
      ["return this.#returnedBytes > this.#windowBytes / 4;", "return this.#returnedBytes > 0;"],
    ],
    tests: [`${at}follower-stream.test.ts`],
  },
  {
    name: "deposed-leader-goes-on-sending",
    breaks: "A leader that lost its role is left.",
    file: `${at}leader-session.ts`,
    replace: [
      [
        "    try {\n      requireTerm(subscription);\n      const found = log.tryReadTail",
        "    try {\n      const found = log.tryReadTail",
      ],
    ],
    tests: streamTests,
  },
  {
    name: "follower-says-what-is-written",
    breaks: "A follower says how far its log is durable.",
    file: `${at}follower-stream.ts`,
    replace: [
      [
        "state.reportedEnd = partition.log.ackedEndOffset;",
        "state.reportedEnd = partition.log.logEndOffset;",
      ],
    ],
    tests: streamTests,
  },
  {
    name: "follower-keeps-a-dead-connection",
    breaks: "Connections that break again and again lose nothing.",
    file: `${at}follower-stream.ts`,
    replace: [
      [
        "    const channel = this.#dial();\n",
        "    const channel = (this.#kept ??= this.#dial());\n",
      ],
      [
        "  #isSaying = false;\n  #cancelSilence",
        "  #kept: Channel | undefined;\n  #isSaying = false;\n  #cancelSilence",
      ],
      ["      this.#closed(stream);\n      channel.close();", "      this.#closed(stream);"],
    ],
    tests: streamTests,
  },
  {
    name: "stream-that-broke-keeps-subscriptions",
    breaks: "A stream that breaks takes its subscriptions with it.",
    file: `${at}follower-stream.ts`,
    replace: [
      [
        "      followed.cancelRetry();\n      followed.state = idle;",
        "      followed.cancelRetry();",
      ],
    ],
    tests: streamTests,
  },
];

const taking: readonly Mutant[] = [
  {
    name: "replicated-batch-of-a-newer-epoch",
    breaks: "A leader sends no batch of an epoch above its own.",
    file: replicated,
    replace: [["ofBatch < epoch || ofBatch > leaderEpoch", "ofBatch < epoch"]],
    tests: replicatedTests,
  },
  {
    name: "replicated-epochs-fall",
    breaks: "Epochs of batches that are taken over do not fall.",
    file: replicated,
    replace: [["ofBatch < epoch || ofBatch > leaderEpoch", "ofBatch > leaderEpoch"]],
    tests: replicatedTests,
  },
  {
    name: "replicated-body-unchecked",
    breaks: "Records that are taken over have their CRC checked.",
    file: replicated,
    replace: [["    if (!bodyCrcMatches(buffer, stored)) throw", "    if (!bodyCrcMatches) throw"]],
    tests: replicatedTests,
  },
  {
    name: "replicated-offset-unchecked",
    breaks: "What is taken over begins at the log end.",
    file: replicated,
    replace: [
      [
        "    if (baseOffset !== offset && rest === undefined) throw",
        "    if (baseOffset < 0) throw",
      ],
    ],
    tests: replicatedTests,
  },
  {
    name: "replicated-batches-done-one-by-one",
    breaks: "Batches that are taken over together are done together.",
    file: "packages/log/src/partition/partition.ts",
    replace: [["batch === last ? done : () => {}", "done"]],
    tests: replicatedTests,
  },
  {
    name: "replicated-batches-bounded-one-by-one",
    breaks: "Batches that are taken over together are bounded together.",
    file: "packages/log/src/partition/append-limits.ts",
    replace: [["    bytes += batch.body.length + batchOverheadBytes;\n", ""]],
    tests: replicatedTests,
  },
];

export const replicationMutants: readonly Mutant[] = [
  ...counting,
  ...agreeing,
  ...streams,
  ...taking,
  {
    name: "begins-anew-inside-of-a-batch",
    breaks: "A log begins anew with the leader's first batch, not with its log start inside of it.",
    file: `${at}leader-session.ts`,
    replace: [["logStartOffset: firstBatch };", "logStartOffset: log.logStartOffset };"]],
    tests: [`${at}replication.test.ts`],
  },
  {
    name: "begun-anew-and-told-again",
    breaks: "A log that has begun anew with the leader's first batch is sent what follows.",
    file: `${at}leader-session.ts`,
    replace: [["if (endsAt === firstBatch) {", "if (endsAt === -1) {"]],
    tests: [`${at}replication.test.ts`],
  },
];

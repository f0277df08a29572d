/** Mutants of the stream of a follower: what it says to its leader, and does to its logs. */
import type { Mutant } from "../mutant.ts";

const src = "services/broker/src/";
const followerStream = `${src}replication/follower-stream.ts`;
const retryPause = `${src}retry-pause.ts`;
const retryPauseTests = [`${src}retry-pause.test.ts`];
const streamRetries = `${src}stream-retries.ts`;
const streamRetriesTests = [`${src}stream-retries.test.ts`];
const followFailures = `${src}replication/follow-failures.ts`;
const followFailuresTests = [`${src}replication/follow-failures.test.ts`];
const followerStreamTests = [`${src}replication/follower-stream.test.ts`];

export const followerStreamMutants: readonly Mutant[] = [
  {
    name: "stream-of-an-earlier-registration-kept",
    breaks: "A broker that has registered anew opens its streams again.",
    file: followerStream,
    replace: [["      this.#checkRegistration(stream);\n", ""]],
    tests: followerStreamTests,
  },
  {
    name: "stream-opened-under-an-earlier-registration",
    breaks: "A stream is opened under the present registration.",
    file: followerStream,
    replace: [
      ["    this.#openedEpoch = brokerEpoch();\n", "    this.#openedEpoch ||= brokerEpoch();\n"],
    ],
    tests: followerStreamTests,
  },
  {
    name: "follower-cuts-committed-records",
    breaks: "A log is never cut below its own high watermark.",
    file: followerStream,
    replace: [["    if (repair.offset < log.highWatermark) {", "    if (repair.offset < 0) {"]],
    tests: followerStreamTests,
  },
  {
    name: "follower-gives-up-a-leader-that-lost-records",
    breaks: "A log that cannot be cut is subscribed again later.",
    file: followerStream,
    replace: [
      [
        "      this.#retryLater(followed, losesCommitted(this.#leaderId, repair, log));\n",
        "      losesCommitted(this.#leaderId, repair, log);\n",
      ],
    ],
    tests: followerStreamTests,
  },
  {
    name: "log-made-ready-twice",
    breaks: "A log is made ready once, though several causes come together.",
    file: followerStream,
    replace: [
      [
        "    if (followed.attempt !== attempt || this.#stream === undefined) return;\n",
        "    if (attempt < 0 || this.#stream === undefined) return;\n",
      ],
    ],
    tests: followerStreamTests,
  },
  {
    name: "subscribes-while-it-is-subscribed",
    breaks: "A partition that is subscribed is not subscribed again.",
    file: followerStream,
    replace: [
      ["    if (followed.state !== idle) return;\n    if (hasEmptyEpoch", "    if (hasEmptyEpoch"],
    ],
    tests: followerStreamTests,
  },
  {
    name: "subscribes-before-the-cut",
    breaks: "A subscription waits for a cut.",
    file: followerStream,
    replace: [["    await followed.cutting;\n", "    await Promise.resolve();\n"]],
    tests: followerStreamTests,
  },
  {
    name: "cut-is-not-followed-by-a-subscription",
    breaks: "A log is subscribed again once it is cut.",
    file: followerStream,
    replace: [
      [
        "        followed.cutting = undefined;\n        void this.#prepare(followed);\n",
        "        followed.cutting = undefined;\n",
      ],
    ],
    tests: followerStreamTests,
  },
  {
    name: "failed-cut-is-not-tried-again",
    breaks: "A cut that fails is tried again.",
    file: followerStream,
    replace: [
      [
        "        followed.cutting = undefined;\n        this.#retryLater(followed, thrown);\n",
        "        followed.cutting = undefined;\n        void thrown;\n",
      ],
    ],
    tests: followerStreamTests,
  },
  {
    name: "unfollow-hides-the-cut",
    breaks: "Unfollowing tells of the cut under way.",
    file: followerStream,
    replace: [["    return followed.cutting;\n", "    return undefined;\n"]],
    tests: followerStreamTests,
  },
  {
    name: "followed-anew-before-the-cut",
    breaks: "A partition that is followed anew waits for the cut of the one before.",
    file: followerStream,
    replace: [
      [
        "failures: 0, attempt: 0, cutting }",
        "failures: 0, attempt: 0, cutting: cutting && undefined }",
      ],
    ],
    tests: followerStreamTests,
  },
  {
    name: "empty-epoch-is-followed",
    breaks: "An empty epoch is cut before the log follows.",
    file: followerStream,
    replace: [
      ["    if (hasEmptyEpoch(log)) {", "    if (hasEmptyEpoch(log) && this.#retries.isStopped) {"],
    ],
    tests: followerStreamTests,
  },
  {
    name: "streams-not-prepared-at-their-opening",
    breaks: "Partitions are subscribed once their stream is open.",
    file: followerStream,
    replace: [
      ["    for (const followed of this.#followed.values()) void this.#prepare(followed);\n", ""],
    ],
    tests: followerStreamTests,
  },
  {
    name: "dial-that-throws-ends-following",
    breaks: "A dial that throws is tried again.",
    file: followerStream,
    replace: [
      [
        "    const channel = this.#dial();\n    const stream",
        "    let channel!: Channel;\n    try {\n      channel = this.#dial();\n    } catch {\n      this.#retries.stop();\n      return;\n    }\n    const stream",
      ],
    ],
    tests: followerStreamTests,
  },
  {
    name: "stream-pauses-never-grow",
    breaks: "The pauses between attempts grow.",
    file: streamRetries,
    replace: [["      failures += 1;\n", "      failures += 0;\n"]],
    tests: streamRetriesTests,
  },
  {
    name: "stream-pauses-stay-long",
    breaks: "A stream that was opened ends the long pauses.",
    file: streamRetries,
    replace: [["      if (isOpened) failures = 0;\n", ""]],
    tests: streamRetriesTests,
  },
  {
    name: "stream-that-ends-well-is-a-failure",
    breaks: "Streams that end in good order do not make the pauses longer.",
    file: streamRetries,
    replace: [
      [
        "      if (isOpened) failures = 0;\n",
        "      if (isOpened && failure !== undefined) failures = 0;\n",
      ],
    ],
    tests: streamRetriesTests,
  },
  {
    name: "stream-channel-kept",
    breaks: "The channel of a stream that broke is closed.",
    file: followerStream,
    replace: [["      channel.close();\n", ""]],
    tests: followerStreamTests,
  },
  {
    name: "stream-failures-told-again-and-again",
    breaks: "The first failure in a row is told, and no other.",
    file: streamRetries,
    replace: [["failure !== undefined && failures === 0", "failure !== undefined"]],
    tests: streamRetriesTests,
  },
  {
    name: "partition-failures-told-one-by-one",
    breaks: "Partitions that fail within a second share a line.",
    file: followFailures,
    replace: [["if (this.#cancel === undefined) {", "if (this.#count < 9) {"]],
    tests: followFailuresTests,
  },
  {
    name: "partition-failures-named-without-limit",
    breaks: "A line names a bounded number of partitions.",
    file: followFailures,
    replace: [["if (this.#count < examplesMax)", "if (this.#count >= 0)"]],
    tests: followFailuresTests,
  },
  {
    name: "partition-failures-told-after-the-end",
    breaks: "A stream that was closed says nothing more.",
    file: followerStream,
    replace: [["    this.#failures.close();\n", ""]],
    tests: followerStreamTests,
  },
  {
    name: "stream-attempted-after-a-stop",
    breaks: "A stop during an attempt is the end.",
    file: streamRetries,
    replace: [["      if (this.#isStopped) return;\n", ""]],
    tests: streamRetriesTests,
  },
  {
    name: "close-waits-for-an-opening",
    breaks: "A close ends a stream that is being opened.",
    file: followerStream,
    replace: [["    this.#endAttempt();\n    await", "    this.#stream?.cancel();\n    await"]],
    tests: followerStreamTests,
  },
  {
    name: "close-waits-for-a-pause",
    breaks: "A close ends the pause between attempts.",
    file: streamRetries,
    replace: [["    this.#pause.end();\n", ""]],
    tests: streamRetriesTests,
  },
  {
    name: "pause-that-ended-early-leaves-its-timer",
    breaks: "A pause that is ended early leaves no timer.",
    file: retryPause,
    replace: [["    cancel();\n", "    void cancel;\n"]],
    tests: retryPauseTests,
  },
  {
    name: "pauses-without-a-bound",
    breaks: "Pauses grow up to their bound.",
    file: retryPause,
    replace: [["Math.min(pauseMsMax, ", "Math.max(0, "]],
    tests: retryPauseTests,
  },
  {
    name: "close-forgets-cuts",
    breaks: "A close waits for cuts.",
    file: followerStream,
    replace: [["Promise.all([this.#done, ...cuts])", "Promise.all([this.#done])"]],
    tests: followerStreamTests,
  },
  {
    name: "append-to-what-is-unfollowed",
    breaks: "Nothing is appended for a partition that is followed no more.",
    file: followerStream,
    replace: [["    this.#byId.delete(state.id);\n", ""]],
    tests: followerStreamTests,
  },
  {
    name: "unsubscribe-not-told",
    breaks: "The leader is told of a partition that is followed no more.",
    file: followerStream,
    replace: [["    this.#unsubscribe.push(state.id);\n", ""]],
    tests: followerStreamTests,
  },
  {
    name: "follower-window-not-returned",
    breaks: "What was appended is given back to the window.",
    file: followerStream,
    replace: [["this.#returnedBytes += length;", "this.#returnedBytes += 0 * length;"]],
    tests: followerStreamTests,
  },
  {
    name: "append-without-room-fails",
    breaks: "An append waits for room.",
    file: followerStream,
    replace: [
      [
        "        if (!hasCode(thrown, ErrorCode.ADMISSION_REJECTED)) throw thrown;\n",
        "        if (hasCode(thrown, ErrorCode.ADMISSION_REJECTED)) throw thrown;\n",
      ],
    ],
    tests: followerStreamTests,
  },
  {
    name: "refused-subscription-given-up",
    breaks: "A refused subscription is asked for again.",
    file: followerStream,
    replace: [
      [
        "    this.#retryLater(followed, new MillraceError(error?.code",
        "    this.#end(followed);\n    void (new MillraceError(error?.code",
      ],
    ],
    tests: followerStreamTests,
  },
  {
    name: "follower-pauses-never-grow",
    breaks: "Refusals are waited out longer each time.",
    file: followerStream,
    replace: [["    followed.failures += 1;\n", ""]],
    tests: followerStreamTests,
  },
  {
    name: "follower-pauses-stay-long",
    breaks: "A partition that was followed starts its pauses over.",
    file: followerStream,
    replace: [["      followed.failures = 0;\n", ""]],
    tests: followerStreamTests,
  },
  {
    name: "silent-leader-is-followed",
    breaks: "A leader that falls silent is left.",
    file: followerStream,
    replace: [["      this.#hear();\n    }", "    }"]],
    tests: followerStreamTests,
  },
  {
    name: "leader-that-speaks-is-silent",
    breaks: "A leader that speaks is not silent.",
    file: followerStream,
    replace: [
      ["      this.#cancelSilence();\n      for", "      for"],
      ["      this.#hear();\n    }", "    }"],
    ],
    tests: followerStreamTests,
  },
  {
    name: "leader-is-silent-while-an-append-waits",
    breaks: "A leader is not taken for silent while an append waits for room.",
    file: followerStream,
    replace: [["      this.#cancelSilence();\n      for", "      this.#hear();\n      for"]],
    tests: followerStreamTests,
  },
  {
    name: "leader-that-never-answers",
    breaks: "A leader that does not answer an opening is left.",
    file: followerStream,
    replace: [
      [
        "clock.timer(openTimeoutMs, () => stream.cancel(late))",
        "clock.timer(openTimeoutMs, () => void late)",
      ],
    ],
    tests: followerStreamTests,
  },
  {
    name: "log-start-not-followed",
    breaks: "A log start that the leader moves is followed.",
    file: followerStream,
    replace: [
      ["      this.#moveStart(followed);\n      followed.failures", "      followed.failures"],
    ],
    tests: followerStreamTests,
  },
  {
    name: "log-start-of-a-move-lost",
    breaks: "A log start that moves during an earlier move is followed.",
    file: followerStream,
    replace: [["        if (followed.leaderStart > leaderStart) this.#moveStart(followed);\n", ""]],
    tests: followerStreamTests,
  },
  {
    name: "log-start-moves-overlap",
    breaks: "A log start is moved once at a time.",
    file: followerStream,
    replace: [["|| isMovingStart || state", "|| state"]],
    tests: followerStreamTests,
  },
  {
    name: "log-start-past-the-high-watermark",
    breaks: "A log start does not pass the high watermark.",
    file: followerStream,
    replace: [[" && leaderStart <= log.highWatermark;", ";"]],
    tests: followerStreamTests,
  },
  {
    name: "log-start-of-an-unfollowed-log",
    breaks: "A log start does not move once its partition is unfollowed.",
    file: followerStream,
    replace: [
      [" || state === over) return;\n    followed.isMoving", ") return;\n    followed.isMoving"],
    ],
    tests: followerStreamTests,
  },
];

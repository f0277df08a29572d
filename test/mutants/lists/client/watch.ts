import type { Mutant } from "../../mutant.ts";

const room = "packages/client/src/core/metadata";
const core = "packages/client/src/core";
const watchTest = [`${room}/watch.test.ts`];
const viewTest = [`${room}/view.test.ts`];
const serversTest = [`${room}/servers.test.ts`];
const stormTest = [`${core}/storm.test.ts`];
const deadlinesTest = [`${core}/deadlines.test.ts`];

/** Following the metadata, and leaving servers that say nothing. */
export const watchMutants: readonly Mutant[] = [
  {
    name: "client-watch-opened-again",
    breaks: "every use of a topic opens another stream",
    file: `${room}/cache.ts`,
    replace: [
      [
        "this.#wanted.add(name);\n    this.#watch.follow();",
        "this.#wanted.add(name);\n    this.#watch.follow();\n    this.#watch.restart();",
      ],
    ],
    tests: watchTest,
  },
  {
    name: "client-watch-never-resumes",
    breaks: "a watch that breaks begins with a snapshot of everything",
    file: `${room}/watch.ts`,
    replace: [
      ["const resumes = !this.#mustList && view.follows(topics);", "const resumes = false;"],
    ],
    tests: watchTest,
  },
  {
    name: "client-watch-resumes-unknown-topics",
    breaks: "a watch is resumed over topics of which nothing is known",
    file: `${room}/view.ts`,
    replace: [["return includesAll(this.#followed, topics);", "return this.#informed > 0n;"]],
    tests: viewTest,
  },
  {
    name: "client-watch-never-lists",
    breaks: "changes that do not fit what is known never lead to a snapshot",
    file: `${room}/watch.ts`,
    replace: [
      [
        "const resumes = !this.#mustList && view.follows(topics);",
        "const resumes = view.follows(topics);",
      ],
    ],
    tests: watchTest,
  },
  {
    name: "client-watch-believes-the-silent",
    breaks: "a server that says nothing keeps the watch",
    file: `${room}/watch.ts`,
    replace: [["this.#intervalMs * silentIntervals;", "this.#intervalMs * 1000;"]],
    tests: watchTest,
  },
  {
    name: "client-watch-deaf-to-heartbeats",
    breaks: "a watch ends although heartbeats come",
    file: `${room}/watch.ts`,
    replace: [["      this.#silence.heard();\n", ""]],
    tests: watchTest,
  },
  {
    name: "client-watch-returns-to-the-silent",
    breaks: "the server that fell silent is asked first",
    file: `${room}/watch.ts`,
    replace: [
      [
        "if (opened !== undefined) servers.leave(opened.endpoint);",
        "if (opened !== undefined) this.#drop();",
      ],
    ],
    tests: watchTest,
  },
  {
    name: "client-watch-in-a-loop",
    breaks: "servers that cannot be reached are asked without pauses",
    file: `${room}/watch.ts`,
    replace: [["failures = lasted ? 0 : failures + 1;", "failures = 0;"]],
    tests: watchTest,
  },
  {
    name: "client-watch-ends-in-a-loop",
    breaks: "a server that ends every watch at once is asked without pauses",
    file: `${room}/watch.ts`,
    replace: [
      ["const lasted = opened !== undefined && ", "const lasted = opened !== undefined || "],
    ],
    tests: watchTest,
  },
  {
    name: "client-watch-asked-in-vain",
    breaks: "servers without WatchMetadata are asked for it all the time",
    file: `${room}/watch.ts`,
    replace: [
      [
        'const isUnsupported = this.#state === "unsupported";',
        'const isUnsupported = this.#state === "closed";',
      ],
    ],
    tests: watchTest,
  },
  {
    name: "client-watch-outlives-the-client",
    breaks: "the watch of a closed client stays open",
    file: `${room}/watch.ts`,
    replace: [['"the client is closed"));\n    this.#reopen();\n', '"the client is closed"));\n']],
    tests: watchTest,
  },
  {
    name: "client-watch-late-topics",
    breaks: "topics that are added while the stream opens are not followed",
    file: `${room}/watch.ts`,
    replace: [["    this.follow();\n  }", "  }"]],
    tests: watchTest,
  },
  {
    name: "client-old-revision-believed",
    breaks: "a message that is older than what is known changes routes",
    file: `${room}/view.ts`,
    replace: [["    if (revision < this.#informed) return false;\n", ""]],
    tests: viewTest,
  },
  {
    name: "client-old-answer-believed",
    breaks: "an answer that is older than the watch changes topics",
    file: `${room}/view.ts`,
    replace: [
      ["    if (revision < this.#revisionOf(name)) return;\n    const old", "    const old"],
    ],
    tests: viewTest,
  },
  {
    name: "client-old-generation-believed",
    breaks: "a server from before a restore is believed",
    file: `${room}/view.ts`,
    replace: [
      [
        "return this.#past.some((past) => isSameBytes(past, generation));",
        "return false && generation.length > 0;",
      ],
    ],
    tests: viewTest,
  },
  {
    name: "client-generations-unbounded",
    breaks: "every generation is remembered for ever",
    file: `${room}/view.ts`,
    replace: [[".slice(-pastGenerationsMax)", ""]],
    tests: viewTest,
  },
  {
    name: "client-hint-always-newer",
    breaks: "a leader hint replaces newer knowledge",
    file: `${room}/view.ts`,
    replace: [["    if (hint.metadataRevision <= this.#revisionOf(topic)) return;\n", ""]],
    tests: viewTest,
  },
  {
    name: "client-heartbeats-are-news",
    breaks: "every heartbeat makes producers and consumers look at the metadata",
    file: `${room}/view.ts`,
    replace: [["if (!isHeartbeat) this.#changed();", "this.#changed();"]],
    tests: viewTest,
  },
  {
    name: "client-losers-run-on",
    breaks: "servers that were slower are not cancelled",
    file: `${room}/servers.ts`,
    replace: [["      over.abort();\n", ""]],
    tests: serversTest,
  },
  {
    name: "client-late-answer-kept",
    breaks: "a watch that opens too late stays open",
    file: `${room}/servers.ts`,
    replace: [["            discard(answer);\n", ""]],
    tests: serversTest,
  },
  {
    name: "client-asks-beside-the-watch",
    breaks: "clients ask for metadata after every error although they watch",
    file: `${room}/cache.ts`,
    replace: [['    if (state === "live") return;\n', ""]],
    tests: stormTest,
  },
  {
    name: "client-restart-unnoticed",
    breaks: "a watch of a generation that is over is kept",
    file: `${room}/cache.ts`,
    replace: [["    if (isOther && generation.length > 0) this.#watch.restart();\n", ""]],
    tests: watchTest,
  },
  {
    name: "client-waits-out-its-pause",
    breaks: "a topic that appears is seen at the end of a pause",
    file: `${room}/cache.ts`,
    replace: [
      [
        "const stop = this.#view.onChange(() => changed.abort());",
        "const stop = this.#view.onChange(() => {});",
      ],
    ],
    tests: watchTest,
  },
  {
    name: "client-watch-of-a-hung-leader",
    breaks: "a leader that hangs keeps the watch until that is silent for long",
    file: `${room}/cache.ts`,
    replace: [["    if (lost !== undefined) this.#watch.suspect(lost);\n", ""]],
    tests: deadlinesTest,
  },
  {
    name: "client-silence-suffered-long",
    breaks: "a leader that hangs is left after half a minute",
    file: `${core}/deadlines.ts`,
    replace: [["leaderSilentMs = 9_000", "leaderSilentMs = 30_000"]],
    tests: deadlinesTest,
  },
  {
    name: "client-batch-waits-for-the-hung",
    breaks: "a batch waits for half a minute for a leader that hangs",
    file: `${core}/producer/options.ts`,
    replace: [["options.requestTimeoutMs ?? leaderSilentMs", "options.requestTimeoutMs ?? 30_000"]],
    tests: deadlinesTest,
  },
  {
    name: "client-stream-waits-for-the-hung",
    breaks: "a produce stream waits for half a minute to be opened",
    file: `${core}/producer/sender.ts`,
    replace: [["clock.timer(leaderSilentMs, ", "clock.timer(30_000, "]],
    tests: deadlinesTest,
  },
  {
    name: "client-reader-waits-for-the-hung",
    breaks: "a reader waits longer than ten seconds for a leader that hangs",
    file: `${core}/deadlines.ts`,
    replace: [["Math.min(3 * heartbeatIntervalMs, leaderSilentMs)", "4.5 * heartbeatIntervalMs"]],
    tests: deadlinesTest,
  },
  {
    name: "client-reader-waits-for-the-opening",
    breaks: "a reader waits for ever for a stream to be opened",
    file: `${core}/consumer/fetcher.ts`,
    replace: [["    this.#expect(stream, leaderSilentMs);\n", ""]],
    tests: deadlinesTest,
  },
  {
    name: "client-rare-heartbeats-are-silence",
    breaks: "a leader with rare heartbeats is left",
    file: `${core}/deadlines.ts`,
    replace: [["jitter * heartbeatIntervalMs + ", "0 * heartbeatIntervalMs + "]],
    tests: deadlinesTest,
  },
  {
    name: "client-call-waits-for-the-hung",
    breaks: "a call spends its whole deadline on a leader that hangs",
    file: `${core}/offsets.ts`,
    replace: [
      [
        "Math.min(leaderSilentMs, Math.max(1, deadlineMs - clock.monoMs()))",
        "Math.max(1, deadlineMs - clock.monoMs())",
      ],
    ],
    tests: deadlinesTest,
  },
  {
    name: "client-batch-waits-beside-a-leader",
    breaks: "batches wait for the end of a pause although there is a leader",
    file: `${core}/producer/dispatcher.ts`,
    replace: [
      [
        "if (queue.timesLeaderless > 0 && isLed) queue.notBeforeMs = 0;",
        "if (queue.timesLeaderless > 1e9 && isLed) queue.notBeforeMs = 0;",
      ],
    ],
    tests: watchTest,
  },
  {
    name: "client-old-leader-waited-for",
    breaks: "a leader that hangs is waited for although another one leads",
    file: `${core}/producer/dispatcher.ts`,
    replace: [["if (nowMs - sentMs < replacedSilentMs) return;", "if (nowMs > 0) return;"]],
    tests: deadlinesTest,
  },
  {
    name: "client-old-leader-cut-short",
    breaks: "the answers of a leader that has just been replaced are lost",
    file: `${core}/producer/dispatcher.ts`,
    replace: [["nowMs - sentMs < replacedSilentMs", "nowMs < sentMs"]],
    tests: deadlinesTest,
  },
  {
    name: "client-silent-leader-trusted",
    breaks: "a leader that answers nothing is believed on who leads until its stream breaks",
    file: `${core}/producer/dispatcher.ts`,
    replace: [["if (silentMs >= suspectMs)", "if (silentMs < 0)"]],
    tests: deadlinesTest,
  },
  {
    name: "client-reader-stays-behind",
    breaks: "a reader stays with a leader that was replaced until it says so",
    file: `${core}/consumer/leaders.ts`,
    replace: [["        cursor.stopFetching();\n        this.attach(cursor);\n", ""]],
    tests: watchTest,
  },
  {
    name: "client-deletes-what-came-later",
    breaks: "a deletion of all records that is made again takes those written in between",
    file: `${core}/admin.ts`,
    replace: [["beforeOffset ?? (await ", "beforeOffset ?? (undefined && "]],
    tests: deadlinesTest,
  },
  {
    name: "client-new-partition-given-up",
    breaks: "an added partition that cannot be read at once is not read before the next change",
    file: `${core}/consumer/consumer.ts`,
    replace: [["clock.timer(backoffRangeMs.max, () => this.#addNewPartitions());", "() => clock;"]],
    tests: [`${core}/consumer/consumer.test.ts`],
  },
];

import type { Mutant } from "../mutant.ts";

const at = "services/controller/src/heartbeats/";
const liveness = `${at}liveness.ts`;
const watch = `${at}watch.ts`;
const session = `${at}session.ts`;
const broker = "services/broker/src/heartbeats.ts";
const retries = "services/broker/src/stream-retries.ts";
const steps = [`${at}liveness.test.ts`];
const decisions = [`${at}liveness.property.test.ts`];
const streams = [`${at}watch.test.ts`];
const sending = ["services/broker/src/heartbeats.test.ts"];

const decided: readonly Mutant[] = [
  {
    name: "silence-without-end",
    breaks: "A broker that is silent for five seconds is fenced.",
    file: liveness,
    replace: [
      [
        'return nowMs - heardMs >= this.#times.silenceMs ? "hung" : undefined;',
        "return undefined;",
      ],
    ],
    tests: decisions,
  },
  {
    name: "beats-are-not-heard",
    breaks: "A broker that beats is not fenced.",
    file: liveness,
    replace: [["if (watched !== undefined) watched.heardMs = nowMs;", "void nowMs;"]],
    tests: decisions,
  },
  {
    name: "break-without-a-probe",
    breaks: "A broker whose stream breaks is dialed at once.",
    file: liveness,
    replace: [["    watched.probeDueMs = nowMs;\n", ""]],
    tests: decisions,
  },
  {
    name: "break-is-a-death",
    breaks: "A stream that breaks is no death by itself.",
    file: liveness,
    replace: [["watched.contact = broken;", "watched.contact = refused;"]],
    tests: decisions,
  },
  {
    name: "answer-is-a-death",
    breaks: "Only a probe that is refused shows a death.",
    file: liveness,
    replace: [["if (isRefused) watched", "if (isRefused || probe > 0) watched"]],
    tests: decisions,
  },
  {
    name: "one-probe-for-ever",
    breaks: "A broker that answered a probe is dialed again until its silence ends.",
    file: liveness,
    replace: [["watched.probe = undefined;", "watched.probe = probe;"]],
    tests: decisions,
  },
  {
    name: "probe-older-than-the-stream",
    breaks: "A probe that was sent before a stream was opened says nothing about it.",
    file: liveness,
    replace: [["watched === undefined || watched.probe !== probe", "watched === undefined"]],
    tests: decisions,
  },
  {
    name: "old-stream-beats",
    breaks: "What happens on a stream counts only while it is the newest of its broker.",
    file: liveness,
    replace: [[" && contact.stream === stream ? watched", " ? watched"]],
    tests: decisions,
  },
  {
    name: "goodbye-is-a-break",
    breaks: "A broker that says goodbye is not fenced.",
    file: liveness,
    replace: [["watched.contact = left;", "watched.contact = broken;"]],
    tests: decisions,
  },
  {
    name: "awaited-without-patience",
    breaks: "A broker has time for its first stream before it is dialed.",
    file: liveness,
    replace: [["nowMs + this.#times.streamWaitMs", "nowMs"]],
    tests: decisions,
  },
  {
    name: "no-heartbeats-is-silence",
    breaks: "A broker that never opened a stream is not fenced for its silence.",
    file: liveness,
    replace: [
      [
        'if (contact.kind !== "beating" && contact.kind !== "broken") return undefined;',
        'if (contact.kind === "left") return undefined;',
      ],
    ],
    tests: decisions,
  },
  {
    name: "new-registration-inherits-a-death",
    breaks: "A new registration is judged by its own streams and probes.",
    file: liveness,
    replace: [["if (epochs.get(brokerId) !== epoch)", "if (!epochs.has(brokerId) || epoch < 0)"]],
    tests: decisions,
  },
  {
    name: "half-of-the-brokers-fenced",
    breaks: "Half of the brokers are not fenced at once.",
    file: liveness,
    replace: [["missing * 2 >= gone", "missing * 2 > gone"]],
    tests: decisions,
  },
  {
    name: "all-brokers-fenced",
    breaks: "A controller that hears of no broker fences none.",
    file: liveness,
    replace: [["return missing > 1 &&", "return missing < 0 &&"]],
    tests: decisions,
  },
  {
    name: "one-of-two-is-spared",
    breaks: "One dead broker is fenced, however few there are.",
    file: liveness,
    replace: [["return missing > 1 &&", "return missing > 0 &&"]],
    tests: decisions,
  },
  {
    name: "cut-seen-one-by-one",
    breaks: "Brokers whose silences end one after the other count as one cut.",
    file: liveness,
    replace: [
      [
        "nowMs - heardMs >= this.#times.silenceMs / 2)",
        "nowMs - heardMs >= this.#times.silenceMs)",
      ],
    ],
    tests: decisions,
  },
  {
    name: "fenced-and-forgotten",
    breaks: "A broker that was fenced just now counts as missing.",
    file: liveness,
    replace: [["this.#fencedMs.set(brokerId, nowMs);", "void nowMs;"]],
    tests: decisions,
  },
  {
    name: "fenced-and-never-forgotten",
    breaks: "A broker that was fenced long ago does not hold up the fencing of another one.",
    file: liveness,
    replace: [["if (nowMs - atMs >= this.#times.silenceMs) this", "if (nowMs < atMs) this"]],
    tests: decisions,
  },
  {
    name: "back-and-still-missing",
    breaks: "A broker that is back after it was fenced is not missing.",
    file: liveness,
    replace: [
      [".filter((id) => !registered.has(id))", ".filter((id) => registered.size > 0 && id >= 0)"],
    ],
    tests: steps,
  },
  {
    name: "own-pause-is-silence",
    breaks: "Time in which the controller stood still is no silence of the brokers.",
    file: liveness,
    replace: [["    this.#excuse(nowMs);\n", ""]],
    tests: steps,
  },
  {
    name: "beat-in-the-future",
    breaks: "A pause of the controller delays the next fencing by no more than the pause.",
    file: liveness,
    replace: [["Math.min(nowMs, watched.heardMs + pauseMs)", "watched.heardMs + pauseMs"]],
    tests: steps,
  },
];

const carriedOut: readonly Mutant[] = [
  {
    name: "fencing-of-another-registration",
    breaks: "A fencing deletes the registration that it was decided for, and no later one.",
    file: watch,
    replace: [["reign.write([same], ", "reign.write([same].slice(1), "]],
    tests: streams,
  },
  {
    name: "watch-outlives-the-reign",
    breaks: "A controller dials and fences nobody after its reign.",
    file: watch,
    replace: [
      [
        "    if (this.#isOver) return;\n    this.#lookIn(lookIntervalMs)",
        "    this.#lookIn(lookIntervalMs)",
      ],
    ],
    tests: streams,
  },
  {
    name: "streams-outlive-the-reign",
    breaks: "Streams end with the reign, so that brokers look for the next controller.",
    file: watch,
    replace: [["    options.reign.onEnd((why) => this.#end(notController(why)));\n", ""]],
    tests: streams,
  },
  {
    name: "streams-outlive-the-registration",
    breaks: "A stream ends when its registration is over.",
    file: watch,
    replace: [["    this.#endStale(brokers);\n", ""]],
    tests: streams,
  },
  {
    name: "failed-fencing-is-not-repeated",
    breaks: "A fencing that fails is tried again.",
    file: watch,
    replace: [
      [
        "    } catch (thrown) {\n      this.#fencing.delete(brokerId);\n",
        "    } catch (thrown) {\n",
      ],
    ],
    tests: streams,
  },
  {
    name: "any-failure-is-a-refusal",
    breaks: "A machine that does not answer is not known to be dead.",
    file: watch,
    replace: [[".catch(isConnectionRefused)", ".catch(() => true)"]],
    tests: streams,
  },
  {
    name: "refusal-is-not-noticed",
    breaks: "A refused connection shows a dead process, at once.",
    file: watch,
    replace: [[".catch(isConnectionRefused)", ".catch(() => false)"]],
    tests: streams,
  },
  {
    name: "break-is-looked-at-later",
    breaks: "A stream that breaks has its probe at once.",
    file: watch,
    replace: [["        forget();\n        this.#look();\n", "        forget();\n"]],
    tests: streams,
  },
  {
    name: "second-dial-comes-late",
    breaks:
      "A process that listens for a moment longer than its streams last is dialed again soon.",
    file: watch,
    replace: [["    else this.#lookIn(heartbeatLimits.probePauseMs);\n", ""]],
    tests: streams,
  },
  {
    name: "replaced-stream-goes-on",
    breaks: "A broker has one stream: the newest.",
    file: watch,
    replace: [["    replaced?.end(new Mill", "    void (replaced && new Mill"]],
    tests: streams,
  },
  {
    name: "spared-without-a-warning",
    breaks: "The log says that brokers are left to their leases.",
    file: watch,
    replace: [
      ["if (wasSparing || !this.#isSparing) return;", "if (wasSparing || this.#isSparing) return;"],
    ],
    tests: streams,
  },
  {
    name: "heartbeats-of-another-cluster",
    breaks: "A broker of another cluster is refused.",
    file: session,
    replace: [["    refuseOtherCluster(clusterId, open.clusterId);\n", ""]],
    tests: streams,
  },
  {
    name: "heartbeats-without-a-cluster",
    breaks: "A broker names its cluster.",
    file: session,
    replace: [
      ['    if (open.clusterId === "") throw violation("the opening names no cluster");\n', ""],
    ],
    tests: streams,
  },
  {
    name: "opening-without-end",
    breaks: "A stream without an opening message ends.",
    file: session,
    replace: [["() => this.#over.reject(late)", "() => {}"]],
    tests: streams,
  },
  {
    name: "second-opening",
    breaks: "A stream has one opening.",
    file: session,
    replace: [['      if (request.open !== undefined) throw violation("a second open");\n', ""]],
    tests: streams,
  },
  {
    name: "break-is-not-told",
    breaks: "The watch learns at once that a stream has ended.",
    file: session,
    replace: [["      this.#watched?.broke();\n", ""]],
    tests: streams,
  },
  {
    name: "goodbye-is-not-told",
    breaks: "The watch learns that a broker said goodbye.",
    file: session,
    replace: [["        watched.leave();\n", ""]],
    tests: streams,
  },
  {
    name: "own-stop-is-a-death-of-others",
    breaks: "A controller that stops does not take the end of its streams for deaths.",
    file: session,
    replace: [['    draining.addEventListener("abort", drain);\n', ""]],
    tests: streams,
  },
  {
    name: "beats-without-an-answer",
    breaks: "The controller answers every beat.",
    file: session,
    replace: [["      this.#stream.write(create(HeartbeatResponseSchema, {}));\n", ""]],
    tests: streams,
  },
];

const sent: readonly Mutant[] = [
  {
    name: "beats-wait-for-answers",
    breaks: "Beats go by the clock, whatever was answered.",
    file: broker,
    replace: [
      [
        "      this.#beatLater(stream, intervalMs, to);\n    });\n",
        "      void stream.drained().then(() => stream.read()).then(() => this.#beatLater(stream, intervalMs, to));\n    });\n",
      ],
    ],
    tests: sending,
  },
  {
    name: "silent-controller-is-kept",
    breaks: "A stream whose controller is silent is opened anew.",
    file: broker,
    replace: [["        this.#expectAnswer(stream, intervalMs);\n", ""]],
    tests: sending,
  },
  {
    name: "opening-is-waited-for",
    breaks: "An opening that is not answered is given up in time.",
    file: broker,
    replace: [
      [
        "clock.timer(openTimeoutMs, () => stream.cancel(late))",
        "clock.timer(openTimeoutMs, () => void late)",
      ],
    ],
    tests: sending,
  },
  {
    name: "heartbeats-stay-where-the-controller-was",
    breaks: "Heartbeats follow the controller.",
    file: broker,
    replace: [["if (isMoved || brokerEpoch()", "if (brokerEpoch()"]],
    tests: sending,
  },
  {
    name: "heartbeats-of-the-old-registration",
    breaks: "Heartbeats are opened under the present registration.",
    file: broker,
    replace: [["if (isMoved || brokerEpoch() !== to.epoch) {", "if (isMoved) {"]],
    tests: sending,
  },
  {
    name: "no-controller-ends-the-stream",
    breaks: "A stream stays open while the metadata names no controller.",
    file: broker,
    replace: [
      [
        "now !== undefined && formatEndpoint(now) !== formatEndpoint(to.endpoint)",
        "now === undefined || formatEndpoint(now) !== formatEndpoint(to.endpoint)",
      ],
    ],
    tests: sending,
  },
  {
    name: "beats-before-the-registration",
    breaks: "A broker beats once it is registered.",
    file: broker,
    replace: [["if (endpoint === undefined || epoch === 0) {", "if (endpoint === undefined) {"]],
    tests: sending,
  },
  {
    name: "refused-heartbeats-hurry",
    breaks: "Pauses after refusals grow.",
    file: retries,
    replace: [["      failures += 1;\n", ""]],
    tests: sending,
  },
  {
    name: "heartbeats-without-jitter",
    breaks: "Brokers do not come back in step.",
    file: "services/broker/src/retry-pause.ts",
    replace: [["* (0.5 + random.float())", "* (0.5 + 0 * random.float())"]],
    tests: sending,
  },
  {
    name: "stop-without-a-goodbye",
    breaks: "A stop says goodbye.",
    file: broker,
    replace: [["      stream.write(create(HeartbeatRequestSchema, { goodbye: true }));\n", ""]],
    tests: sending,
  },
  {
    name: "goodbye-waits-for-ever",
    breaks: "A stop waits half a second for the controller, and no longer.",
    file: broker,
    replace: [
      [
        "clock.timer(goodbyeMsMax, () => this.#endAttempt())",
        "clock.timer(goodbyeMsMax, () => {})",
      ],
    ],
    tests: sending,
  },
];

export const heartbeatMutants: readonly Mutant[] = [...decided, ...carriedOut, ...sent];

import type { Mutant } from "../mutant.ts";

const at = "services/controller/src/";
const elections = [`${at}election.test.ts`];
const metadata = "packages/metadata/src/";
const registrations = [`${metadata}registration.test.ts`];
const many = [`${at}controllers.test.ts`];
const boots = ["services/standalone/src/boot/boot.test.ts"];

const election: readonly Mutant[] = [
  {
    name: "deposed-controller-writes",
    breaks: "Every write of a controller is guarded by its election.",
    file: `${at}reign.ts`,
    replace: [["txn([this.#guard, ...compares], operations)", "txn([...compares], operations)"]],
    tests: [...elections, ...many],
  },
  {
    name: "refused-write-is-no-end",
    breaks: "A write that the guard refuses ends the reign.",
    file: `${at}reign.ts`,
    replace: [
      [
        '    if (!succeeded) this.end("another controller was elected");\n',
        "    void succeeded;\n",
      ],
    ],
    tests: elections,
  },
  {
    name: "removed-token-is-no-end",
    breaks: "A write whose token the next reign has removed ends the reign.",
    file: `${at}reign.ts`,
    replace: [["    if (this.#writer.isReplaced) await this.#checkGuard();\n", ""]],
    tests: elections,
  },
  {
    name: "write-that-happened-is-not-controller",
    breaks: "NOT_CONTROLLER says that nothing was written.",
    file: `${at}reign.ts`,
    replace: [["    if (!isOutcomeUnknown(thrown)) this", "    this"]],
    tests: elections,
  },
  {
    name: "conflict-ends-a-reign",
    breaks: "A conflict does not end a reign.",
    file: `${at}reign.ts`,
    replace: [["if (!succeeded) this.end", "if (succeeded) this.end"]],
    tests: elections,
  },
  {
    name: "writes-after-the-end",
    breaks: "Nothing is asked of the store after the end of a reign.",
    file: `${at}reign.ts`,
    replace: [
      [
        "    this.#requireActive();\n    const result = await this.#writer",
        "    const result = await this.#writer",
      ],
    ],
    tests: elections,
  },
  {
    name: "end-of-a-reign-untold",
    breaks: "Whoever watches a reign is told of its end at once.",
    file: `${at}reign.ts`,
    replace: [["    for (const listener of this.#onEnd) listener(why);\n", ""]],
    tests: elections,
  },
  {
    name: "two-active-controllers",
    breaks: "One controller is active.",
    file: `${metadata}leased-key.ts`,
    replace: [
      [
        "return this.#judge(found, value);\n    if",
        "return { createRevision: found.createRevision };\n    if",
      ],
    ],
    tests: elections,
  },
  {
    name: "gone-key-unseen",
    breaks: "A controller whose key is gone stops at once.",
    file: `${at}election.ts`,
    replace: [
      ["?.createRevision !== epoch) reign.end", "?.createRevision === epoch - 1) reign.end"],
    ],
    tests: elections,
  },
  {
    name: "ends-before-its-election-is-read",
    breaks: "A mirror that has not seen the election says nothing about it.",
    file: `${at}election.ts`,
    replace: [["      if (mirror.revision < epoch) return;\n", ""]],
    tests: elections,
  },
  {
    name: "silence-is-still-active",
    breaks: "No news of the lease is the end of a reign.",
    file: `${at}election.ts`,
    replace: [
      ["unknownMsMax: this.#ttlSeconds * 1000", "unknownMsMax: this.#ttlSeconds * 1_000_000"],
    ],
    tests: elections,
  },
  {
    name: "late-election-lengthens-a-reign",
    breaks: "A reign is over before its lease, which the store counts from its grant.",
    file: `${metadata}leased-key.ts`,
    replace: [
      [
        "    this.#askedMs = askedMs;\n    return lease.id;",
        "    this.#askedMs = clock.monoMs();\n    return lease.id;",
      ],
    ],
    tests: elections,
  },
  {
    name: "late-renewal-lengthens-a-reign",
    breaks: "A reign is over before its lease, which the store counts from its renewal.",
    file: `${metadata}leased-key.ts`,
    replace: [
      [
        "    this.#askedMs = askedMs;\n    return kv",
        "    this.#askedMs = clock.monoMs();\n    return kv",
      ],
    ],
    tests: elections,
  },
  {
    name: "late-election-counts",
    breaks: "An election whose answer comes after its lease counts for nothing.",
    file: `${metadata}leased-key.ts`,
    replace: [
      ["      if (leftMs <= 0) lose(why);\n      else cancelDeadline", "      cancelDeadline"],
    ],
    tests: elections,
  },
  {
    name: "reign-that-is-over-begins",
    breaks: "A reign that ended while it began is none.",
    file: `${at}election.ts`,
    replace: [["return reign.isActive ? reign : undefined;", "return reign;"]],
    tests: elections,
  },
  {
    name: "renewal-tried-again-too-late",
    breaks: "A reign outlives a renewal that is not answered.",
    file: `${metadata}leased-key.ts`,
    replace: [["renewIn(intervalMs / 4)", "renewIn(intervalMs)"]],
    tests: elections,
  },
  {
    name: "stopped-controller-keeps-its-key",
    breaks: "A controller that stops gives up its key at once.",
    file: `${metadata}leased-key.ts`,
    replace: [
      ["      this.#released = this.#options.store.revokeLease(lease.id).catch(() => {});\n", ""],
    ],
    tests: [...elections, ...registrations],
  },
  {
    name: "stop-does-not-wait-for-the-key",
    breaks: "A controller has given up its key once its stop is over.",
    file: `${metadata}leased-key.ts`,
    replace: [["    return this.#released;", "    return Promise.resolve();"]],
    tests: elections,
  },
  {
    name: "stop-is-news",
    breaks: "A stop of a controller is no warning.",
    file: `${at}election.ts`,
    replace: [["if (this.#closed) logger.debug(", "if (this.#closed) logger.warn("]],
    tests: elections,
  },
  {
    name: "election-retried-at-once",
    breaks: "A candidate whose attempts fail waits, longer each time.",
    file: `${at}election.ts`,
    replace: [["            this.#failures += 1;\n", ""]],
    tests: elections,
  },
  {
    name: "news-during-an-attempt-forgotten",
    breaks: "A key that becomes free during an attempt is taken at once.",
    file: `${at}election.ts`,
    replace: [["if (this.#closed || this.#hasNews) resolve();", "if (this.#closed) resolve();"]],
    tests: elections,
  },
  {
    name: "no-second-campaign",
    breaks: "A controller that was deposed campaigns again.",
    file: `${at}controller-process.ts`,
    replace: [["      await ended.promise;\n", "      await ended.promise;\n      return;\n"]],
    tests: many,
  },
  {
    name: "tokens-of-the-dead-stay",
    breaks: "Tokens of earlier controllers are removed.",
    file: `${at}election.ts`,
    replace: [["modRevision < reign.epoch);", "modRevision < 0);"]],
    tests: elections,
  },
];

const registration: readonly Mutant[] = [
  {
    name: "lease-not-renewed",
    breaks: "A key is held as long as its process lives.",
    file: `${metadata}leased-key.ts`,
    replace: [
      [
        "    confirmed();\n    renewInTime();\n    return stop;",
        "    confirmed();\n    void renewInTime;\n    return stop;",
      ],
    ],
    tests: [...registrations, ...elections],
  },
  {
    name: "lease-without-a-key-is-enough",
    breaks: "A lease whose key is gone holds nothing.",
    file: `${metadata}leased-key.ts`,
    replace: [
      [
        "return kv?.createRevision === createRevision && kv.lease === lease.id;",
        "return kv === undefined || kv.createRevision > 0;",
      ],
    ],
    tests: registrations,
  },
  {
    name: "lost-answer-locks-itself-out",
    breaks: "An attempt whose answer was lost is found out.",
    file: `${metadata}leased-key.ts`,
    replace: [
      ["if (lease !== undefined && lease === this.#lease?.id)", "if (lease === undefined)"],
    ],
    tests: [...elections, ...registrations, ...many],
  },
  {
    name: "living-broker-pushed-out",
    breaks: "A second process with a broker's id is refused while the first one lives.",
    file: `${metadata}registration.ts`,
    replace: [
      [
        "kind.decode(kv).incarnationId, record.incarnationId) === 0",
        "kind.decode(kv).incarnationId, record.incarnationId) < 9",
      ],
    ],
    tests: registrations,
  },
  {
    name: "restart-does-not-wait",
    breaks: "A process waits until the lease of a dead one has ended.",
    file: `${metadata}registration.ts`,
    replace: [["waitMs = ttlSeconds * 1500", "waitMs = ttlSeconds"]],
    tests: [...registrations, ...boots],
  },
  {
    name: "same-incarnation-locked-out",
    breaks: "The same incarnation keeps its epoch.",
    file: `${metadata}registration.ts`,
    replace: [
      ["incarnationId, record.incarnationId) === 0", "incarnationId, record.incarnationId) === 7"],
    ],
    tests: registrations,
  },
  {
    name: "lost-registration-stays-lost",
    breaks: "A broker that has lost its registration registers anew.",
    file: `${metadata}registration.ts`,
    replace: [["        void this.#registerAgain();\n", ""]],
    tests: registrations,
  },
  {
    name: "broker-fences-itself",
    breaks: "A broker does not give up while the store is silent.",
    file: `${metadata}registration.ts`,
    replace: [["unknownMsMax: Number.POSITIVE_INFINITY", "unknownMsMax: 1000"]],
    tests: registrations,
  },
  {
    name: "key-without-lease-for-ever",
    breaks: "The registration of a version that took no lease is replaced.",
    file: `${metadata}leased-key.ts`,
    replace: [
      [
        "found?.lease === undefined || this.#isFromBackup(found)",
        "found !== undefined && this.#isFromBackup(found)",
      ],
    ],
    tests: registrations,
  },
  {
    name: "stopped-broker-registers-again",
    breaks: "A broker that stops stays away.",
    file: `${metadata}registration.ts`,
    replace: [
      ["    this.#stopKeeping();\n    await", "    await"],
      ["while (!this.#closed) {", "for (;;) {"],
    ],
    tests: registrations,
  },
  {
    name: "stopped-broker-goes-on-waiting",
    breaks: "A broker that stops while it waits for its id stays away.",
    file: `${metadata}registration.ts`,
    replace: [["      this.#checkOpen();\n      const attempt", "      const attempt"]],
    tests: registrations,
  },
  {
    name: "stopped-broker-takes-its-key",
    breaks: "A broker that stops while it registers stays away.",
    file: `${metadata}registration.ts`,
    replace: [
      ["      if (this.#closed) await this.#key.release();\n      this.#checkOpen();\n", ""],
    ],
    tests: registrations,
  },
  {
    name: "stop-while-registering-is-an-error",
    breaks: "A broker that stops while it registers anew says nothing.",
    file: `${metadata}registration.ts`,
    replace: [["        if (this.#closed) return;\n", ""]],
    tests: registrations,
  },
  {
    name: "lease-that-ended-stops-the-start",
    breaks: "A lease that ends before it is used is taken anew.",
    file: `${metadata}leased-key.ts`,
    replace: [
      [
        "      if (!hasCode(thrown, ErrorCode.INVALID_REQUEST)) throw thrown;\n",
        "      throw thrown;\n",
      ],
    ],
    tests: many,
  },
];

const standbys = [`${at}standby-watch.test.ts`];

const standby: readonly Mutant[] = [
  {
    name: "standby-ends-the-next-reign",
    breaks: "A late deletion does not end the reign of the next controller.",
    file: "packages/server/src/holder-watch.ts",
    replace: [["store.txn([same], [", "store.txn([same].slice(1), ["]],
    tests: standbys,
  },
  {
    name: "standby-believes-a-wrong-address",
    breaks: "A controller that was never reached is not taken for dead.",
    file: "packages/server/src/holder-watch.ts",
    replace: [["if (!active.hasAnswered || this.#isOver) return", "if (this.#isOver) return"]],
    tests: standbys,
  },
  {
    name: "standby-remembers-answers-of-before",
    breaks: "Only a controller that has answered under its present key can die.",
    file: "packages/server/src/holder-watch.ts",
    replace: [
      ["channel: undefined, hasAnswered: false }", "channel: undefined, hasAnswered: true }"],
    ],
    tests: standbys,
  },
  {
    name: "standby-takes-silence-for-death",
    breaks: "A controller that hangs keeps its key until its lease ends.",
    file: "packages/server/src/holder-watch.ts",
    replace: [["if (isConnectionRefused(thrown)) await", "if (thrown !== undefined) await"]],
    tests: standbys,
  },
  {
    name: "standby-dials-a-dead-connection",
    breaks: "Another connection says whether anybody listens.",
    file: "packages/server/src/holder-watch.ts",
    replace: [["      active.channel = undefined;\n", ""]],
    tests: standbys,
  },
  {
    name: "standby-watches-over-itself",
    breaks: "An active controller does not watch over itself.",
    file: `${at}controller-process.ts`,
    replace: [[".campaign().finally(() => this.#standby?.close())", ".campaign()"]],
    tests: standbys,
  },
  {
    name: "standby-follows-the-first-key",
    breaks: "The next active controller is watched over as well.",
    file: "packages/server/src/holder-watch.ts",
    replace: [
      ["if (next !== undefined && isSame(next, this.#active))", "if (this.#active !== undefined)"],
    ],
    tests: standbys,
  },
  {
    name: "standby-keeps-the-address",
    breaks: "An answer counts at its address alone.",
    file: "packages/server/src/holder-watch.ts",
    replace: [[" && addressOf(next) === addressOf(active);", ";"]],
    tests: standbys,
  },
  {
    name: "standby-outlives-its-process",
    breaks: "A controller that stops watches no more, though its store hangs.",
    file: `${at}controller-process.ts`,
    replace: [["    this.#standby?.close();\n", ""]],
    tests: standbys,
  },
  {
    name: "standby-dials-in-a-hurry",
    breaks: "An address where nobody ever answered is dialed twice a second.",
    file: "packages/server/src/holder-watch.ts",
    replace: [["this.#isOver) return limits.intervalMs;", "this.#isOver) return limits.pauseMs;"]],
    tests: standbys,
  },
  {
    name: "standby-tells-every-failure",
    breaks: "A store that does not answer is told once.",
    file: "packages/server/src/holder-watch.ts",
    replace: [["      this.#failure = err.message;\n", ""]],
    tests: standbys,
  },
];

export const controllerElectionMutants: readonly Mutant[] = [
  ...election,
  ...registration,
  ...standby,
];

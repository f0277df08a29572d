/** Mutants of the operator's runtime. */
import type { Mutant } from "../mutant.ts";

const at = "operator/src/runtime/";
const test = (name: string): string[] => [`${at}${name}.test.ts`];
const demo = test("testing/demo");

/** Queues and controllers. */
const working: readonly Mutant[] = [
  {
    name: "operator-queue-twice-at-once",
    breaks: "A key is never worked at twice at once.",
    file: `${at}queue.ts`,
    replace: [
      [
        '    if (entry?.state === "active") {\n',
        '    if (entry?.state === "active" && this.#active > 99) {\n',
      ],
    ],
    tests: test("queue.property"),
  },
  {
    name: "operator-queue-forgets-meanwhile",
    breaks: "A key that was added while it was worked at is worked at once more.",
    file: `${at}queue.ts`,
    replace: [["    if (isWantedAgain) this.addAfter(key, 0);\n    else if", "    if"]],
    tests: test("queue.property"),
  },
  {
    name: "operator-queue-hot-loop",
    breaks: "A key that fails and is added again and again does not run in a hot loop.",
    file: `${at}queue.ts`,
    replace: [["    if (earliestMs === undefined) return", "    if (key !== '') return"]],
    tests: test("queue"),
  },
  {
    name: "operator-queue-later-wins",
    breaks: "The earlier of two times counts.",
    file: `${at}queue.ts`,
    replace: [["      if (entry.dueMs <= dueMs) return true;\n", ""]],
    tests: test("queue"),
  },
  {
    name: "operator-queue-remembers-failures",
    breaks: "A success forgets the failures before it.",
    file: `${at}queue.ts`,
    replace: [["    this.#failures.delete(key);\n", ""]],
    tests: test("queue"),
  },
  {
    name: "operator-queue-silent-overflow",
    breaks: "A queue that refused keys says so when there is room.",
    file: `${at}queue.ts`,
    replace: [["    this.#options.onRoom?.();\n", ""]],
    tests: test("queue"),
  },
  {
    name: "operator-controller-before-caches",
    breaks: "Nothing is reconciled before every cache is complete.",
    file: `${at}controller.ts`,
    replace: [["    await Promise.all(this.#informers.map(({ synced }) => synced));\n", ""]],
    tests: test("controller"),
  },
  {
    name: "operator-controller-forgets-the-former",
    breaks: "Whom an object was about before hears of its change.",
    file: `${at}controller.ts`,
    replace: [
      [
        'change.type === "updated" ? keysOf(change.before) : [];',
        'change.type === "updated" ? keysOf(change.object) : [];',
      ],
    ],
    tests: test("controller"),
  },
  {
    name: "operator-controller-late-writes",
    breaks: "A reconcile beyond its deadline writes nothing.",
    file: `${at}controller.ts`,
    replace: [["        signal.throwIfAborted();\n", ""]],
    tests: test("controller"),
  },
  {
    name: "operator-controller-terminal-loop",
    breaks: "What no repetition mends is not tried again and again.",
    file: `${at}errors.ts`,
    replace: [["new Set([400, 405, 413, 415, 422])", "new Set([400, 405, 413, 415])"]],
    tests: test("controller"),
  },
  {
    name: "operator-controller-ignores-retry-after",
    breaks: "What the server asks to wait is waited.",
    file: `${at}controller.ts`,
    replace: [["notBeforeMs: retryAfterMs(error) }", "notBeforeMs: retryAfterMs(undefined) }"]],
    tests: test("controller"),
  },
];

/** Caches. */
const watching: readonly Mutant[] = [
  {
    name: "operator-informer-keeps-the-dead",
    breaks: "A list notices deletions that no watch told.",
    file: `${at}cache.ts`,
    replace: [
      [
        "const changes = gone.flatMap(([, object]) => this.remove(object));",
        "const changes = gone.flatMap(([, object]) => (objects.length < 0 ? this.remove(object) : []));",
      ],
    ],
    tests: test("informer"),
  },
  {
    name: "operator-informer-takes-one-for-another",
    breaks: "An object made anew under a name is another one.",
    file: `${at}cache.ts`,
    replace: [
      [
        "before !== undefined && before.metadata.uid !== object.metadata.uid;",
        "before !== undefined && before.metadata.name !== object.metadata.name;",
      ],
    ],
    tests: test("informer"),
  },
  {
    name: "operator-informer-ends-at-an-error",
    breaks: "An informer ends at no error.",
    file: `${at}informer.ts`,
    replace: [
      [
        "        if (!this.#isStopping) await this.#failed(error);\n",
        "        return void error;\n",
      ],
    ],
    tests: test("informer"),
  },
  {
    name: "operator-informer-waits-for-ever",
    breaks: "A watch that stands still is ended.",
    file: `${at}informer.ts`,
    replace: [["() => ending.abort(stuck));", "() => void stuck);"]],
    tests: test("informer"),
  },
  {
    name: "operator-informer-never-lists-again",
    breaks: "A kind is listed anew from time to time.",
    file: `${at}informer.ts`,
    replace: [["clock.monoMs() + relistMs * (", "clock.monoMs() + 1000 * relistMs * ("]],
    tests: test("informer"),
  },
  {
    name: "operator-informer-hands-nothing-on",
    breaks: "A list hands unchanged objects to whoever missed something.",
    file: `${at}informer.ts`,
    replace: [
      [
        "      for (const change of changes) this.#tell(change);\n",
        '      for (const one of changes) if (one.type !== "unchanged") this.#tell(one);\n',
      ],
    ],
    tests: test("informer"),
  },
  {
    name: "operator-informer-dies-of-a-handler",
    breaks: "A handler that throws ends nothing.",
    file: `${at}informer.ts`,
    replace: [
      [
        '"a handler of changes failed");\n',
        '"a handler of changes failed");\n        throw error;\n',
      ],
    ],
    tests: test("informer"),
  },
  {
    name: "operator-informer-pages-for-ever",
    breaks: "A list that expires between its pages is asked for in one page in the end.",
    file: `${at}informer.ts`,
    replace: [
      [
        "if (isExpired(error)) this.#expiredLists += 1;",
        "if (isExpired(error)) this.#expiredLists = 0;",
      ],
    ],
    tests: test("informer"),
  },
  {
    name: "operator-informer-skips-pages",
    breaks: "A list is all of its pages.",
    file: `${at}informer.ts`,
    replace: [['      if (continueToken !== "") continue;\n', ""]],
    tests: test("informer"),
  },
  {
    name: "operator-cache-writable",
    breaks: "Nobody changes what is in a cache.",
    file: `${at}cache.ts`,
    replace: [["this.#objects.set(key, frozen(object));", "this.#objects.set(key, object);"]],
    tests: test("informer"),
  },
];

/** One writer. */
const leading: readonly Mutant[] = [
  {
    name: "operator-leader-counts-from-the-answer",
    breaks: "A lease counts from when its renewal was sent.",
    file: `${at}leader.ts`,
    replace: [
      [
        "    this.#renewed = sent;\n",
        "    this.#renewed = { ...sent, monoMs: clock.monoMs(), wallMs: clock.wallMs() };\n",
      ],
    ],
    tests: test("leader"),
  },
  {
    name: "operator-leader-never-fenced",
    breaks: "Nothing is written once the lease may have lapsed.",
    file: `${at}leader.ts`,
    replace: [['this.#state === "leading" && this.#leftMs > 0;', 'this.#state === "leading";']],
    tests: test("leader"),
  },
  {
    name: "operator-leader-fence-is-open",
    breaks: "Writes of a process that does not lead are refused.",
    file: `${at}fenced.ts`,
    replace: [["    if (!mayWrite()) throw", "    if (!mayWrite() && api === undefined) throw"]],
    tests: test("leader"),
  },
  {
    name: "operator-leader-impatient",
    breaks: "A lease is taken over after its duration, not before.",
    file: `${at}leader.ts`,
    replace: [["this.#seen.atMs >= durationMs;", "this.#seen.atMs >= durationMs / 4;"]],
    tests: test("leader"),
  },
  {
    name: "operator-leader-reads-times",
    breaks: "A renewal that was seen begins the duration anew.",
    file: `${at}leader.ts`,
    replace: [["if (this.#seen?.text !== text) this", "if (this.#seen === undefined) this"]],
    tests: test("leader"),
  },
  {
    name: "operator-leader-comes-back",
    breaks: "A process that has lost its lease never leads again.",
    file: `${at}leader.ts`,
    replace: [['    this.#state = "lost";\n', '    this.#state = "waiting";\n']],
    tests: test("leader"),
  },
  {
    name: "operator-leader-suspended",
    breaks: "A machine that was suspended leads no more.",
    file: `${at}leader.ts`,
    replace: [["renewMs - Math.max(mono, wall);", "renewMs - Math.min(mono, wall);"]],
    tests: test("leader"),
  },
  {
    name: "operator-leader-waits-for-a-read",
    breaks: "A read that hangs does not cost the lease.",
    file: `${at}leader.ts`,
    replace: [
      ["await this.#inTime(api.get(leaseType, key));", "await api.get(leaseType, key);"],
      ["  async #inTime<T>(", "  async inTime<T>("],
    ],
    tests: test("leader"),
  },
  {
    name: "operator-leader-keeps-the-lease",
    breaks: "Who stops hands the lease on.",
    file: `${at}leader.ts`,
    replace: [["    if (wasLeading) await this.#release();\n", ""]],
    tests: test("leader"),
  },
];

/** Writes. */
const writing: readonly Mutant[] = [
  {
    name: "operator-apply-always",
    breaks: "A cluster that does not change gets no writes.",
    file: `${at}apply.ts`,
    replace: [["if (isLast && includes(observed, wanted)) return observed;", ""]],
    tests: [...test("apply"), ...demo],
  },
  {
    name: "operator-apply-blind-to-drift",
    breaks: "Drift is put right.",
    file: `${at}apply.ts`,
    replace: [["if (isLast && includes(observed, wanted))", "if (isLast)"]],
    tests: [...test("apply"), ...demo],
  },
  {
    name: "operator-apply-keeps-the-unwanted",
    breaks: "Fields that are wanted no more go.",
    file: `${at}apply.ts`,
    replace: [["if (isLast && includes(observed, wanted))", "if (includes(observed, wanted))"]],
    tests: test("apply"),
  },
  {
    name: "operator-status-of-another",
    breaks: "The status of a later object of the same name is left alone.",
    file: `${at}apply.ts`,
    replace: [["      ...(uid === undefined ? {} : { uid }),\n", ""]],
    tests: test("apply"),
  },
  {
    name: "operator-status-by-the-cache",
    breaks: "A status is judged by the server's object.",
    file: `${at}apply.ts`,
    replace: [["const status = statusOf(current);", "const status = statusOf(object);"]],
    tests: test("apply"),
  },
  {
    name: "operator-credentials-without-end",
    breaks: "A call ends by its deadline also where a program of the kubeconfig's hangs.",
    file: `${at}node/transport.ts`,
    replace: [
      [
        "await unlessAborted(this.#config.applyToHTTPSOptions(options), signal)",
        "await this.#config.applyToHTTPSOptions(options)",
      ],
    ],
    tests: test("node/client"),
  },
  {
    name: "operator-condition-always-new",
    breaks: "The time of a transition changes with the status alone.",
    file: `${at}conditions.ts`,
    replace: [
      ["known?.status === status;", "known?.status === status && known.message === message;"],
    ],
    tests: test("conditions"),
  },
  {
    name: "operator-finalizer-on-the-dying",
    breaks: "No finalizer is set on what is being deleted.",
    file: `${at}finalizers.ts`,
    replace: [[" || isBeingDeleted(object)) return object;", ") return object;"]],
    tests: test("apply"),
  },
  {
    name: "operator-owner-of-another-group",
    breaks: "A child is its controller's, of that kind and group.",
    file: `${at}owners.ts`,
    replace: [["  if (group !== type.group) return undefined;\n", ""]],
    tests: test("controller"),
  },
  {
    name: "operator-events-each-anew",
    breaks: "The same event is counted, not written again.",
    file: `${at}events.ts`,
    replace: [["    if (known.writtenMs + seriesMs > clock.monoMs()) return;\n", ""]],
    tests: test("events"),
  },
  {
    name: "operator-events-change-notes",
    breaks: "Of an event that is there the series alone changes.",
    file: `${at}events.ts`,
    replace: [["{ ...current, series });", "{ ...current, note: event.note, series });"]],
    tests: test("events"),
  },
  {
    name: "operator-events-unbounded",
    breaks: "Events that wait have a bound.",
    file: `${at}events.ts`,
    replace: [["if (this.#pending >= pendingMax || ", "if (this.#pending > pendingMax * 99 || "]],
    tests: test("events"),
  },
  {
    name: "operator-demo-cleans-up-last",
    breaks: "A finalizer stays until what was made elsewhere is gone.",
    file: `${at}testing/demo.ts`,
    replace: [
      [
        "    if (uid !== undefined) await api.delete(configMapType, key, { uid });\n    await removeFinalizer(api, demoType, demo, finalizer);\n",
        "    await removeFinalizer(api, demoType, demo, finalizer);\n    if (uid !== undefined) await api.delete(configMapType, key, { uid });\n",
      ],
    ],
    tests: demo,
  },
];

/** HTTP. */
const asking: readonly Mutant[] = [
  {
    name: "operator-client-half-a-line",
    breaks: "Half a line of a watch is an error.",
    file: `${at}node/lines.ts`,
    replace: [
      ["  if (length > 0) throw new CutLineError", "  if (length < 0) throw new CutLineError"],
    ],
    tests: test("node/lines"),
  },
  {
    name: "operator-client-missing-kind",
    breaks: "A kind that is not there is no missing object.",
    file: `${at}node/client.ts`,
    replace: [
      [
        "    if (answer.status === 404 && isAboutObject(answer.text, key.name)) return undefined;",
        "    if (answer.status === 404) return undefined;",
      ],
    ],
    tests: test("node/client"),
  },
  {
    name: "operator-client-expired-in-stream",
    breaks: "410 within a stream is 410.",
    file: `${at}node/api-errors.ts`,
    replace: [
      [
        'status: typeof own === "number" && own > 0 ? own : code,',
        'status: typeof own === "number" && own < 0 ? own : code,',
      ],
    ],
    tests: test("node/client"),
  },
  {
    name: "operator-client-no-deadline",
    breaks: "Every call ends by its deadline.",
    file: `${at}node/transport.ts`,
    replace: [["() => ending.abort(late));", "() => void late);"]],
    tests: test("node/client"),
  },
  {
    name: "operator-client-plain-patch",
    breaks: "An apply is server-side.",
    file: `${at}node/client.ts`,
    replace: [['"application/apply-patch+yaml"', '"application/merge-patch+json"']],
    tests: test("node/client"),
  },
];

export const operatorRuntimeMutants: readonly Mutant[] = [
  ...working,
  ...watching,
  ...leading,
  ...writing,
  ...asking,
];

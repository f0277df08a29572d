import type { Mutant } from "../mutant.ts";

const room = "services/controller/src/rebalance/";
const planner = [`${room}planner.test.ts`, `${room}planner.property.test.ts`];
const steps = [`${room}steps.test.ts`, `${room}steps.property.test.ts`];
const service = ["services/controller/src/rebalances.test.ts"];
const gauge = [`${room}gauge.test.ts`];
const request = [`${room}request.test.ts`];
const text = ["packages/cli/src/rebalance-text.test.ts"];
const lag = ["services/broker/src/replication/commit-lag.test.ts"];

const plans: readonly Mutant[] = [
  {
    name: "plan-moves-what-is-fixed",
    breaks: "A partition that is moving, drained or left out is not planned for.",
    file: `${room}board.ts`,
    replace: [
      [
        "if (this.isFixed(p) || !to.broker.isActive) return false;",
        "if (!to.broker.isActive) return false;",
      ],
    ],
    tests: planner,
  },
  {
    name: "plan-fills-a-cordoned-broker",
    breaks: "A broker that may get no replicas gets none.",
    file: `${room}board.ts`,
    replace: [
      [
        "this.active = [...this.seats.values()].filter(({ broker }) => broker.isActive);",
        "this.active = [...this.seats.values()].filter(({ broker }) => isKept(broker));",
      ],
      [
        "if (this.isFixed(p) || !to.broker.isActive) return false;",
        "if (this.isFixed(p)) return false;",
      ],
    ],
    tests: planner,
  },
  {
    name: "plan-empties-a-cordoned-broker",
    breaks: "A broker that is cordoned keeps what it has.",
    file: `${room}board.ts`,
    replace: [["return seat === undefined || !isKept(seat.broker);", "return !this.isActive(id);"]],
    tests: planner,
  },
  {
    name: "plan-worsens-racks",
    breaks: "No later step makes the spread over racks worse.",
    file: `${room}board.ts`,
    replace: [
      [
        "return this.racksMissingWith(p, from, to.broker.id) <= this.racksMissing(p);",
        "return true;",
      ],
    ],
    tests: planner,
  },
  {
    name: "plan-skips-racks-that-are-open",
    breaks: "The index of racks leaves out only brokers that can get nothing.",
    file: `${room}board.ts`,
    replace: [
      [
        "this.#missing[p] = this.racksMissingWith(p, -1, -1);\n    this.#countOpen(p, 1);",
        "this.#missing[p] = this.racksMissingWith(p, -1, -1);",
      ],
    ],
    tests: [`${room}board.property.test.ts`],
  },
  {
    name: "plan-tells-of-goals-too-early",
    breaks: "A goal that a later step meets is not told as one that is not met.",
    file: `${room}planner.ts`,
    replace: [
      [
        "const unmet = [...unmetHardGoals(board), ...counts, ...others];",
        "const unmet = [...counts, ...others];",
      ],
    ],
    tests: planner,
  },
  {
    name: "plan-copies-for-next-to-nothing",
    breaks: "A swap that gains next to nothing is not made.",
    file: `${room}bytes.ts`,
    replace: [
      [
        "if (bytes > from.bytes - gainMin || bytes >= (best?.bytes ?? from.bytes)) continue;",
        "if (bytes >= (best?.bytes ?? from.bytes)) continue;",
      ],
      ["if (to.bytes + gainMin >= from.bytes) break;", "if (to.bytes >= from.bytes) break;"],
    ],
    tests: planner,
  },
  {
    name: "plan-from-moving-replicas",
    breaks: "A partition that moves already counts as it is going to be.",
    file: `${room}request.ts`,
    replace: [["const replicas = targetOf(record);", "const { replicas } = record;"]],
    tests: request,
  },
  {
    name: "plan-into-a-full-disk",
    breaks: "A broker has room for what its disk has, not for anything.",
    file: `${room}request.ts`,
    replace: [
      [
        "return Math.floor((used + known.freeBytes) * diskUsageMax);",
        "return Number.MAX_SAFE_INTEGER;",
      ],
    ],
    tests: request,
  },
  {
    name: "planning-without-a-pause",
    breaks: "A controller answers while it plans.",
    file: `${room}planning.ts`,
    replace: [
      ["if (clock.monoMs() - sinceMs < sliceMsMax) continue;", "if (clock.monoMs() > 0) continue;"],
    ],
    tests: [`${room}planning.test.ts`],
  },
];

const carriedOut: readonly Mutant[] = [
  {
    name: "move-of-other-replicas",
    breaks: "A partition that was moved by hand is left as it is.",
    file: `${room}steps.ts`,
    replace: [["if (!same(record.replicas, move.from)) {", "if (record.replicas.length === 0) {"]],
    tests: steps,
  },
  {
    name: "move-to-a-cordoned-broker",
    breaks: "A broker that was cordoned after the plan gets nothing.",
    file: `${room}steps.ts`,
    replace: [
      ["if (intent !== BrokerIntent.ACTIVE) {", "if (intent === BrokerIntent.UNSPECIFIED) {"],
    ],
    tests: steps,
  },
  {
    name: "move-into-fewer-racks",
    breaks: "A move that would put two replicas into one rack is skipped.",
    file: `${room}steps.ts`,
    replace: [["if (added.length > 0 && count(to) <", "if (added.length > 99 && count(to) <"]],
    tests: steps,
  },
  {
    name: "move-out-of-sync",
    breaks: "A partition that is not in sync waits.",
    file: `${room}steps.ts`,
    replace: [["if (behind !== undefined) {", "if (behind === 999) {"]],
    tests: steps,
  },
  {
    name: "moves-without-a-bound",
    breaks: "A broker takes part in so many moves at once.",
    file: `${room}traffic.ts`,
    replace: [['if ((this.#moves.get(id) ?? 0) >= this.#movesMax) return "";', ""]],
    tests: steps,
  },
  {
    name: "moves-whatever-they-lack",
    breaks: "Copies begin only while those before them have little to catch up.",
    file: `${room}traffic.ts`,
    replace: [
      [
        "if ((this.#lagBytes.get(id) ?? 0) > rebalanceLimits.lagBytesMax) {",
        "if (this.#movesMax === 0) {",
      ],
    ],
    tests: steps,
  },
  {
    name: "moves-while-records-wait",
    breaks: "Copies wait while records wait to be committed.",
    file: `${room}traffic.ts`,
    replace: [["if (lagMs > rebalanceLimits.commitLagMsMax) {", "if (lagMs < 0) {"]],
    tests: steps,
  },
  {
    name: "moves-beside-a-broken-minimum",
    breaks: "Brokers with a partition below its minimum take part in no copies.",
    file: `${room}traffic.ts`,
    replace: [["if (busy !== undefined) return busy;", ""]],
    tests: steps,
  },
  {
    name: "moves-without-room",
    breaks: "The new broker has room for what is on its way to it.",
    file: `${room}traffic.ts`,
    replace: [
      [
        "return free !== undefined && (this.#comingBytes.get(id) ?? 0) + bytes > free;",
        "return free !== undefined && bytes > free;",
      ],
    ],
    tests: steps,
  },
  {
    name: "pause-that-begins-moves",
    breaks: "A paused plan begins nothing.",
    file: `${room}steps.ts`,
    replace: [
      [
        'const waiting = isRunning ? stepper.begin() : "";',
        'const waiting = isAborting ? "" : stepper.begin();',
      ],
    ],
    tests: steps,
  },
  {
    name: "abort-without-the-order-of-before",
    breaks: "A move that is taken back has the preferred leader of before.",
    file: `${room}steps.ts`,
    replace: [
      [
        "const target = sameSet(original, move.from) ? move.from : original;",
        "const target = original;",
      ],
    ],
    tests: steps,
  },
  {
    name: "abort-over-too-early",
    breaks: "A plan is aborted once nothing of it moves any more.",
    file: `${room}steps.ts`,
    replace: [["if (isAborting && isQuiet) next", "if (isAborting) next"]],
    tests: steps,
  },
  {
    name: "complete-with-moves-that-wait",
    breaks: "A plan is complete once no move waits.",
    file: `${room}steps.ts`,
    replace: [
      [
        "if (isRunning && isQuiet && !stepper.has(Outcome.waiting)) next",
        "if (isRunning && isQuiet) next",
      ],
    ],
    tests: steps,
  },
  {
    name: "moves-to-a-broker-that-is-gone",
    breaks: "A move to a broker that does not come back is taken back.",
    file: `${room}steps.ts`,
    replace: [
      [
        "if (this.#measured.gone.has(id)) return `broker",
        "if (this.#measured.gone.has(-1)) return `broker",
      ],
    ],
    tests: steps,
  },
];

const stored: readonly Mutant[] = [
  {
    name: "step-over-a-pause",
    breaks: "A command that comes between a step's look and its write is not undone.",
    file: `${room}rebalancer.ts`,
    replace: [
      [
        "const compares: Compare[] = [isUnchanged(keys.rebalance(rebalanceId), plan)];",
        "const compares: Compare[] = [];",
      ],
    ],
    tests: service,
  },
  {
    name: "step-over-a-partition",
    breaks: "A partition that has changed since it was judged is judged anew.",
    file: `${room}rebalancer.ts`,
    replace: [
      ["for (const change of changes) compares.push(isUnchanged(change.key, change));", ""],
    ],
    tests: service,
  },
  {
    name: "step-over-a-topic",
    breaks: "A topic that is deleted meanwhile gets no new replicas.",
    file: `${room}rebalancer.ts`,
    replace: [["for (const [key, topic] of topics) compares.push(isUnchanged(key, topic));", ""]],
    tests: service,
  },
  {
    name: "step-over-an-intent",
    breaks: "A broker that is cordoned meanwhile gets no new replicas.",
    file: `${room}rebalancer.ts`,
    replace: [
      ["if (changes.length > 0) compares.push(unchangedPlacement(state.current.placement));", ""],
    ],
    tests: service,
  },
  {
    name: "two-plans-at-once",
    breaks: "One plan is carried out at a time.",
    file: `${room}commands.ts`,
    replace: [["if (runningId !== 0) {\n      const why", "if (runningId < 0) {\n      const why"]],
    tests: ["services/broker/src/process/rebalance.test.ts"],
  },
  {
    name: "plan-that-stays-running",
    breaks: "When a plan is over the next one may begin.",
    file: `${room}rebalancer.ts`,
    replace: [["...(isOver ? [putIndex({ ...plan.index.record, runningId: 0 })] : []),", ""]],
    tests: service,
  },
  {
    name: "plan-without-its-moves-goes-on",
    breaks: "A plan whose moves are not all there fails.",
    file: `${room}rebalancer.ts`,
    replace: [
      [
        "if (kv === undefined) return undefined;\n      values",
        "if (kv === undefined) break;\n      values",
      ],
      ["if (moves.length !== count) return undefined;\n    this.#moves", "this.#moves"],
    ],
    tests: service,
  },
  {
    name: "moves-of-another-store",
    breaks: "After a restore the moves of the restored store count.",
    file: `${room}rebalancer.ts`,
    replace: [
      ["const isSame = values.every((kv, i) => kv === known?.values[i]);", "const isSame = true;"],
    ],
    tests: service,
  },
  {
    name: "moves-of-an-interrupted-plan",
    breaks: "What an interrupted plan has left is no part of the next one.",
    file: `${room}plans.ts`,
    replace: [
      [
        "if (!(await write([isIndexSame], [removeMoves(rebalanceId)])).succeeded) return undefined;",
        "",
      ],
    ],
    tests: service,
  },
  {
    name: "plans-that-are-made-together",
    breaks: "One plan is made at a time.",
    file: "services/controller/src/rebalances.ts",
    replace: [["this.#isPlanning = true;", ""]],
    tests: service,
  },
  {
    name: "plan-of-any-size",
    breaks: "A plan has at most so many moves as can be stored.",
    file: "services/controller/src/rebalances.ts",
    replace: [
      ["if (draft.moves.length > rebalanceLimits.movesMax) {", "if (draft.moves.length < 0) {"],
    ],
    tests: service,
  },
  {
    name: "plans-that-are-never-forgotten",
    breaks: "The last ten plans that are over are remembered, and no more.",
    file: `${room}plans.ts`,
    replace: [[".slice(plansKept);", ".slice(1_000);"]],
    tests: service,
  },
];

const measured: readonly Mutant[] = [
  {
    name: "pace-that-only-grows",
    breaks: "Once records wait, half as many moves may go on.",
    file: `${room}pace.ts`,
    replace: [["if (lagMs >= paceSlowMs)", "if (lagMs < 0)"]],
    tests: [`${room}pace.test.ts`],
  },
  {
    name: "pace-that-nobody-keeps",
    breaks: "No more moves go on than the pace allows.",
    file: `${room}traffic.ts`,
    replace: [
      [
        "this.#movesMax = Math.min(movesMax, measured.movesPerBroker);",
        "this.#movesMax = movesMax;",
      ],
    ],
    tests: steps,
  },
  {
    name: "broker-gone-at-once",
    breaks: "A broker that restarts is waited for.",
    file: `${room}gauge.ts`,
    replace: [["nowMs - sinceMs >= brokerGoneMs", "nowMs - sinceMs >= 0"]],
    tests: gauge,
  },
  {
    name: "broker-gone-for-ever",
    breaks: "A broker that has come back is not gone.",
    file: `${room}gauge.ts`,
    replace: [["if (brokers.has(id)) this.#missing.delete(id);\n      else if", "if"]],
    tests: gauge,
  },
  {
    name: "lag-of-the-wrong-side",
    breaks: "What a copy lacks is what the leader has more.",
    file: `${room}gauge.ts`,
    replace: [["Math.max(0, whole - has(id))", "Math.max(0, has(id) - whole)"]],
    tests: gauge,
  },
  {
    name: "commit-lag-starts-anew",
    breaks: "Records that wait since an earlier look have waited since then.",
    file: "services/broker/src/replication/commit-lag.ts",
    replace: [
      [
        "const now = isSame ? before : { end, sinceMs: nowMs };",
        "const now = { end, sinceMs: nowMs };",
      ],
    ],
    tests: lag,
  },
  {
    name: "commit-lag-of-a-busy-log",
    breaks: "A log that goes on with other records does not lag.",
    file: "services/broker/src/replication/commit-lag.ts",
    replace: [["before !== undefined && highWatermark < before.end", "before !== undefined"]],
    tests: lag,
  },
  {
    name: "rebalance-without-reasons",
    breaks: "What was skipped is shown with the reason.",
    file: "packages/cli/src/rebalance-text.ts",
    replace: [["...rebalance.skipped.map(", "...rebalance.skipped.slice(0, 0).map("]],
    tests: text,
  },
];

export const rebalanceMutants: readonly Mutant[] = [
  ...plans,
  ...carriedOut,
  ...stored,
  ...measured,
];

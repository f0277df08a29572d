/** Mutants of what makes Brokers and BrokerPools true. */
import type { Mutant } from "../mutant.ts";

const broker = "operator/src/reconcile/broker/";
const pool = "operator/src/reconcile/broker-pool/";
const plan = [`${broker}plan.test.ts`];
const actions = [`${broker}actions.test.ts`];
const pools = [`${pool}plan.test.ts`];

/** Every write, and more seeds. */
const whole = { MILLRACE_OPERATOR_KILL_EVERY: "1", MILLRACE_OPERATOR_SEEDS: "40" };

const mutants: readonly Mutant[] = [
  {
    name: "broker-pod-without-a-lease",
    breaks: "A pod that may be at work goes under a lease alone.",
    file: `${broker}plan.ts`,
    replace: [
      ["  return restart(view, reason);", '  return { type: "delete-pod", isLeased: false };'],
    ],
    tests: plan,
  },
  {
    name: "broker-pod-under-any-lease",
    breaks: "A pod goes under a lease of the kind that allows it.",
    file: `${broker}plan.ts`,
    replace: [['if (leaseOf(view)?.kind === "Restart")', "if (leaseOf(view) !== undefined)"]],
    tests: plan,
  },
  {
    name: "broker-lease-not-asked",
    breaks: "A lease is renewed right before something is taken away under it.",
    file: `${broker}actions.ts`,
    replace: [["isLeased ? await this.#askToAct() : granted", "granted"]],
    tests: actions,
  },
  {
    name: "broker-claim-lease-not-asked",
    breaks: "A lease is renewed right before a volume is deleted under it.",
    file: `${broker}actions.ts`,
    replace: [
      [
        "const permission = await this.#askToAct();\n    if (!permission.mayAct) return permission.result;\n    await this.#tools.api.delete(claimType",
        "await this.#tools.api.delete(claimType",
      ],
    ],
    tests: actions,
  },
  {
    name: "broker-refusal-ignored",
    breaks: "Nothing is done under a lease that does not allow it now.",
    file: `${broker}actions.ts`,
    replace: [
      ["if (mayAct) return granted;", "if (mayAct || blockers.length > 0) return granted;"],
    ],
    tests: actions,
  },
  {
    name: "broker-lost-lease-is-kept",
    breaks: "A lease that is lost is forgotten, so that another one is asked for.",
    file: `${broker}actions.ts`,
    replace: [
      [
        "await this.#writeLease(undefined);\n      return { mayAct: false, result: undefined };",
        "return { mayAct: false, result: undefined };",
      ],
    ],
    tests: actions,
  },
  {
    name: "broker-pod-by-its-name",
    breaks: "A pod is deleted as it was seen, by its uid and version.",
    file: `${broker}actions.ts`,
    replace: [
      [
        "await this.#tools.api.delete(podType, keyOf(pod), asSeen(pod));",
        "await this.#tools.api.delete(podType, keyOf(pod), {} as Preconditions);",
      ],
    ],
    tests: actions,
  },
  {
    name: "broker-pod-that-has-changed",
    breaks: "A pod that has changed since it was looked at is not deleted.",
    file: `${broker}actions.ts`,
    replace: [["return { uid, resourceVersion };", "return { uid };"]],
    tests: actions,
  },
  {
    name: "broker-token-not-written",
    breaks: "The token of a lease is written down before anything is done under it.",
    file: `${broker}actions.ts`,
    replace: [
      [
        "await this.#writeLease({ kind: wish.kind, token, grantedAt: timestamp(grantedAtMs) });",
        "timestamp(grantedAtMs + token);",
      ],
    ],
    tests: actions,
  },
  {
    name: "broker-claim-of-a-pod",
    breaks: "A claim is not deleted while a pod has it.",
    file: `${broker}actions.ts`,
    replace: [["if (user !== undefined) {", 'if (user === "") {']],
    tests: actions,
  },
  {
    name: "broker-volume-deleted-against-retain",
    breaks: "A volume that is to stay stays.",
    file: `${broker}plan.ts`,
    replace: [['whenScaledDown === "Retain"', 'whenScaledDown === ("" as string)']],
    tests: plan,
  },
  {
    name: "broker-volume-before-its-directory",
    breaks: "A lost volume is replaced once its directory is given up.",
    file: `${broker}plan.ts`,
    replace: [['if (leaseOf(view)?.kind !== "ReplaceDisk") {', "if (leaseOf(view) === null) {"]],
    tests: plan,
  },
  {
    name: "broker-disk-replaced-under-it",
    breaks: "The disk of a broker is replaced once the broker has stopped.",
    file: `${broker}plan.ts`,
    replace: [["if (foundOf(view)?.isRegistered === true) {", "if (view.pod === null) {"]],
    tests: plan,
  },
  {
    name: "broker-new-volume-unasked",
    breaks: "Without the cluster's word a missing volume is not made anew.",
    file: `${broker}plan.ts`,
    replace: [
      [
        'if (asked.type === "unasked") return wait("cluster", asked.message);\n  const isUnlisted = asked',
        'const isUnlisted = asked.type === "unasked" || asked',
      ],
    ],
    tests: plan,
  },
  {
    name: "broker-known-before-is-unknown",
    breaks: "A broker that has registered once is not taken for a new one.",
    file: `${broker}view.ts`,
    replace: [
      [
        "asked.found === undefined && broker.status?.directoryId === undefined",
        "asked.found === undefined && broker.kind !== undefined",
      ],
    ],
    tests: plan,
  },
  {
    name: "broker-removed-before-decommissioned",
    breaks: "A broker is removed once the cluster says that it is decommissioned.",
    file: `${broker}plan.ts`,
    replace: [['if (found.intent !== "Decommissioned") {', "if (found.replicas > 0) {"]],
    tests: plan,
  },
  {
    name: "broker-removed-without-a-lease",
    breaks: "A broker that is decommissioned goes under a lease that gives up its directory.",
    file: `${broker}plan.ts`,
    replace: [['if (leaseOf(view)?.kind !== "Remove") {', "if (leaseOf(view) === null) {"]],
    tests: plan,
  },
  {
    name: "broker-drain-not-taken-back",
    breaks: "A drain that is called off is taken back in the cluster.",
    file: `${broker}plan.ts`,
    replace: [
      [
        "if (found === undefined || found.intent === intent) return undefined;",
        'if (found === undefined || found.intent === intent || intent === "Active") return undefined;',
      ],
    ],
    tests: plan,
  },
  {
    name: "broker-drained-with-logs",
    breaks: "A broker with logs on its disk is not drained yet.",
    file: `${broker}plan.ts`,
    replace: [["if (leftovers === 0) return undefined;", "if (leftovers >= 0) return undefined;"]],
    tests: plan,
  },
  {
    name: "broker-drain-holds-up-its-pod",
    breaks: "A pod that has ended is made anew while its broker is drained.",
    file: `${broker}plan.ts`,
    replace: [["[isAction(running) ? running : undefined, intentStep", "[intentStep"]],
    tests: plan,
  },
  {
    name: "broker-stopped-while-its-claim-goes",
    breaks: "A broker is not stopped while its claim is being deleted.",
    file: `${broker}plan.ts`,
    replace: [
      [
        'if (volumeState(view) === "leaving") {\n    const { claimName }',
        'if (volumeState(view) === "absent") {\n    const { claimName }',
      ],
    ],
    tests: plan,
  },
  {
    name: "broker-rolled-round-and-round",
    breaks: "A pod is not replaced for a spec that cannot be made any more.",
    file: `${broker}view.ts`,
    replace: [
      [
        "if (pod === undefined || !hasHashes(renders, broker.spec)) return false;",
        "if (pod === undefined || renders === null) return false;",
      ],
    ],
    tests: plan,
  },
  {
    name: "broker-lease-kept-for-ever",
    breaks: "A lease is given back once the broker is back.",
    file: `${broker}plan.ts`,
    replace: [["running === undefined ? leaseStep(view) : undefined", "undefined"]],
    tests: plan,
  },
  {
    name: "broker-unready-by-one-call",
    breaks: "One call that fails does not make a broker unready.",
    file: `${broker}reconciler.ts`,
    replace: [["failuresUntold: 3", "failuresUntold: 0"]],
    tests: [`${broker}outage.test.ts`],
  },
  {
    name: "broker-steady-writes",
    breaks: "The volume of a broker is asked for once.",
    file: `${broker}quantity.ts`,
    replace: [["return to > from ? wanted : asked;", "return wanted;"]],
    tests: [`${broker}quantity.test.ts`],
  },
  {
    name: "pool-two-at-a-time",
    breaks: "One broker at a time is drained.",
    file: `${pool}scale.ts`,
    replace: [["const isQuiet = staying.length === brokers.length;", "const isQuiet = true;"]],
    tests: pools,
  },
  {
    name: "pool-removes-by-itself",
    breaks: "brokersToRemove removes nobody by itself.",
    file: `${pool}scale.ts`,
    replace: [
      ["isQuiet && staying.length > replicas ?", "isQuiet && staying.length >= replicas ?"],
    ],
    tests: pools,
  },
  {
    name: "pool-named-broker-stays",
    breaks: "The broker that is named goes first.",
    file: `${pool}scale.ts`,
    replace: [["staying.find((one) => idOf(one) === first) ??", ""]],
    tests: pools,
  },
  {
    name: "pool-drain-not-called-off",
    breaks: "A broker that is drained is called back where it is wanted again.",
    file: `${pool}scale.ts`,
    replace: [
      [
        "draining.slice(0, Math.max(0, replicas - staying.length))",
        "draining.slice(0, Math.min(0, replicas - staying.length))",
      ],
    ],
    tests: pools,
  },
  {
    name: "pool-drained-by-an-old-word",
    breaks: "A broker is decommissioned by its word about its present spec.",
    file: `${pool}scale.ts`,
    replace: [["status?.observedGeneration === metadata.generation &&", "status !== metadata &&"]],
    tests: pools,
  },
  {
    name: "pool-number-given-twice",
    breaks: "A number that a broker of the cluster has had is not given again.",
    file: `${pool}reconciler.ts`,
    replace: [["new Set([...made, ...known.all, ...claims.map(numberOf)])", "new Set(made)"]],
    tests: [`${pool}shrinking.test.ts`],
  },
  {
    name: "pool-forgets-volumes",
    breaks: "Brokers that have left volumes come back with them.",
    file: `${pool}reconciler.ts`,
    replace: [["known.staying.has(id) && !made.has(id)", "known.staying.has(id) && made.has(id)"]],
    tests: [`${broker}returning.test.ts`],
  },
  {
    name: "pool-numbers-of-others",
    breaks: "A pool without a range leaves those of others alone.",
    file: `${pool}numbers.ts`,
    replace: [
      ["if (!isOthers && !used.has(id))", "if (!used.has(id) || (isOthers && used.has(id)))"],
    ],
    tests: pools,
  },
  {
    name: "pool-rolls-beside-another",
    breaks: "No broker is rolled while another one is not ready.",
    file: `${pool}rollout.ts`,
    replace: [["return busy.length === 0 || (isSame", "return busy.length < 9 || (isSame"]],
    tests: pools,
  },
  {
    name: "pool-rolls-two-racks",
    breaks: "Brokers of two racks are never down together.",
    file: `${pool}rollout.ts`,
    replace: [
      ['rack !== "" && broker.status?.rack === rack', 'rack !== "" && broker !== one.broker'],
    ],
    tests: pools,
  },
  {
    name: "pool-rolls-without-a-pause",
    breaks: "A pause is kept after the last broker was back.",
    file: `${pool}rollout.ts`,
    replace: [["&& nowMs < pauseMs;", "&& nowMs < 0;"]],
    tests: pools,
  },
  {
    name: "pool-waits-for-what-it-mends",
    breaks: "A broker that is not ready gets what is wanted at once.",
    file: `${pool}rollout.ts`,
    replace: [
      ["outdated.filter((one) => !isSettled(one));", "outdated.filter((one) => one === null);"],
    ],
    tests: pools,
  },
  {
    name: "pool-ranges-overlap",
    breaks: "Of two pools whose ranges overlap the younger one gets no brokers.",
    file: `${pool}numbers.ts`,
    replace: [["other.spec.nodeIds.start <= own.end &&", "other.spec.nodeIds.start > own.end &&"]],
    tests: pools,
  },
  {
    name: "pool-stops-the-older-one",
    breaks: "Of two pools whose ranges overlap the older one is served.",
    file: `${pool}numbers.ts`,
    replace: [["ageOf(other) < ageOf(pool) &&", ""]],
    tests: pools,
  },
  {
    name: "pool-rolls-before-the-controllers",
    breaks: "Brokers get a new image after the controllers.",
    file: `${pool}plan.ts`,
    replace: [
      ["if (status?.image === image) return undefined;", "if (status !== null) return undefined;"],
    ],
    tests: [`${pool}two-pools.test.ts`],
  },
  {
    name: "pool-rolls-by-itself-alone",
    breaks: "One broker at a time gets a new pod across all pools of a cluster.",
    file: `${pool}plan.ts`,
    replace: [["const brokers = view.brokers.flatMap", "const brokers = brokersOf(view).flatMap"]],
    tests: [`${pool}two-pools.test.ts`],
  },
  {
    name: "pool-acts-while-paused",
    breaks: "A Cluster that is paused gets no brokers.",
    file: `${pool}reconciler.ts`,
    replace: [["if (cluster.spec.paused === true) {", "if (cluster.spec.paused === null) {"]],
    tests: [`${pool}paused.test.ts`],
  },
  {
    name: "broker-acts-while-paused",
    breaks: "The pods of a Cluster that is paused are left alone.",
    file: `${broker}reconciler.ts`,
    replace: [
      [
        "if (parents.cluster.spec.paused === true) {",
        "if (parents.cluster.spec.paused === null) {",
      ],
    ],
    tests: [`${pool}paused.test.ts`],
  },
  {
    name: "broker-keeps-what-is-in-the-way",
    breaks: "A lease of an earlier process runs out where another one is wanted.",
    file: `${broker}reconciler.ts`,
    replace: [['if (!steps.some(({ type }) => type === "acquire")) await', "await"]],
    tests: [`${broker}disk-lost.test.ts`],
  },
  {
    name: "broker-old-address",
    breaks: "A pod that tells clients an old address is replaced.",
    file: `${broker}view.ts`,
    replace: [["|| hasOldAddress(view);", ";"]],
    tests: plan,
  },
  {
    name: "broker-without-its-rack",
    breaks: "A broker of a pool with racks is told its own.",
    file: `${broker}plan.ts`,
    replace: [
      ["if (!isOutdated(view)) return rackStep(view);", "if (!isOutdated(view)) return undefined;"],
    ],
    tests: plan,
  },
  {
    name: "broker-hash-of-labels",
    breaks: "A change of labels restarts no broker.",
    file: `${broker}objects.ts`,
    replace: [
      [
        "podTemplateHash: hashOf(podSpecOf(aboutPod(parents, nodeId, image))),",
        "podTemplateHash: hashOf([podSpecOf(aboutPod(parents, nodeId, image)), parents.pool.spec]),",
      ],
    ],
    tests: [`${broker}pod.test.ts`],
  },
  {
    name: "client-asks-again-with-an-old-view",
    breaks: "A lease for a registration that is over is refused at once.",
    file: "packages/client/src/core/admin.ts",
    replace: [["if (code === ErrorCode.STALE_BROKER_EPOCH) return false;", ""]],
    tests: ["test/integration/operator-brokers.test.ts"],
  },
  {
    name: "broker-unlisted-is-drained",
    breaks:
      "A broker that the cluster does not tell of is not taken for drained while it is ready.",
    file: `${broker}plan.ts`,
    replace: [["return isNobodys(view) ? undefined : unlisted(view);", "return undefined;"]],
    tests: plan,
  },
  {
    name: "broker-unlisted-is-removed",
    breaks: "A pod that is ready is not deleted because the cluster does not tell of its broker.",
    file: `${broker}plan.ts`,
    replace: [
      [
        'return isNobodys(view) ? { type: "delete-pod", isLeased: false } : unlisted(view);',
        'return { type: "delete-pod", isLeased: false };',
      ],
    ],
    tests: plan,
  },
  {
    name: "broker-stopped-without-its-pool",
    breaks: "Without its pool a broker is stopped by nobody while its Cluster is there.",
    file: `${broker}reconciler.ts`,
    replace: [["if (cluster !== undefined && !isBeingDeleted(cluster)) return {};", ""]],
    tests: [`${broker}returning.test.ts`],
  },
  {
    name: "broker-runs-without-its-cluster",
    breaks: "Brokers whose Cluster is gone stop.",
    file: `${broker}reconciler.ts`,
    replace: [["return this.#stop(broker, context);", "return {};"]],
    tests: [`${broker}cluster-gone.test.ts`],
  },
];

export const operatorBrokerMutants: readonly Mutant[] = mutants.map((one) => ({
  ...one,
  env: whole,
}));

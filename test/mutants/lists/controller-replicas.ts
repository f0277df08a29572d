import type { Mutant } from "../mutant.ts";

const at = "services/controller/src/";
const rules = [`${at}alter-partition.test.ts`, `${at}alter-partition.property.test.ts`];
const properties = [`${at}alter-partition.property.test.ts`];
const handlers = [`${at}replicas.test.ts`];
const view = "services/broker/src/metadata/";
const boots = ["services/standalone/src/boot/boot.test.ts"];

const judged: readonly Mutant[] = [
  {
    name: "registration-unchecked",
    breaks: "No replica comes into the ISR under a registration that is over.",
    file: `${at}alter-partition.ts`,
    replace: [
      [
        "if (BigInt(registered) === brokerEpoch) return undefined;",
        "if (brokerEpoch > 0n) return undefined;",
      ],
    ],
    tests: rules,
  },
  {
    name: "isr-of-a-topic-that-is-being-made",
    breaks: "A partition beyond the count of its topic is unknown.",
    file: `${at}alter-partition.ts`,
    replace: [[" || record.partition >= topic.partitionCount", ""]],
    tests: rules,
  },
  {
    name: "leader-leaves-its-isr",
    breaks: "The leader is in the ISR that it asks for.",
    file: `${at}alter-partition.ts`,
    replace: [
      [
        "if (ids.has(caller.brokerId) !== resigns)",
        "if (ids.size > 0 && (!resigns || !ids.has(caller.brokerId)))",
      ],
    ],
    tests: properties,
  },
  {
    name: "replica-twice-in-sync",
    breaks: "A replica is in the ISR once.",
    file: `${at}alter-partition.ts`,
    replace: [["if (ids.size < isr.length)", "if (ids.size > isr.length)"]],
    tests: rules,
  },
  {
    name: "old-leader-changes-the-isr",
    breaks: "A leader of another leader epoch changes nothing.",
    file: `${at}alter-partition.ts`,
    replace: [["if (record.leaderEpoch !== leaderEpoch) {", "if (record.leaderEpoch < 0) {"]],
    tests: rules,
  },
  {
    name: "follower-changes-the-isr",
    breaks: "Only the leader changes the ISR.",
    file: `${at}alter-partition.ts`,
    replace: [["if (record.leader !== brokerId) {", "if (record.leader === -1) {"]],
    tests: rules,
  },
  {
    name: "restarted-leader-keeps-its-epoch-by-an-alteration",
    breaks: "A leader that has registered anew changes nothing under its old leader epoch.",
    file: `${at}alter-partition.ts`,
    replace: [["if (led === BigInt(brokerEpoch)) return", "if (led !== undefined) return"]],
    tests: properties,
  },
  {
    name: "lost-answer-is-stale",
    breaks: "A change that was made before is answered as made.",
    file: `${at}alter-partition.ts`,
    replace: [
      [
        "if (!needsEpoch && isAlreadySo(partition, change))",
        "if (!needsEpoch && change.partition < 0)",
      ],
    ],
    tests: [...rules, ...handlers],
  },
  {
    name: "already-so-by-an-old-record",
    breaks: "A record that is older than the one that the leader has read proves nothing.",
    file: `${at}alter-partition.ts`,
    replace: [["  BigInt(modRevision) >= wanted.modRevision &&\n", ""]],
    tests: properties,
  },
  {
    name: "already-so-by-ids-alone",
    breaks: "A change is made already only with the same broker epochs.",
    file: `${at}alter-partition.ts`,
    replace: [["return at >= 0 && isrBrokerEpochs[at] === brokerEpoch;", "return at >= 0;"]],
    tests: rules,
  },
  {
    name: "already-so-with-more-members",
    breaks: "A change is made already only with the same members.",
    file: `${at}alter-partition.ts`,
    replace: [["  wanted.isr.length === isr.length &&\n", ""]],
    tests: rules,
  },
  {
    name: "decision-by-an-old-record",
    breaks: "A decision by another revision of the record is stale.",
    file: `${at}alter-partition.ts`,
    replace: [
      ["if (change.modRevision !== BigInt(modRevision)) {", "if (change.modRevision < 0n) {"],
    ],
    tests: rules,
  },
  {
    name: "stranger-in-sync",
    breaks: "Only a replica of the partition becomes in sync.",
    file: `${at}alter-partition.ts`,
    replace: [["if (!replicas.includes(brokerId)) return", "if (replicas.length === 0) return"]],
    tests: rules,
  },
  {
    name: "fenced-replica-in-sync",
    breaks: "Only a registered replica becomes in sync.",
    file: `${at}alter-partition.ts`,
    replace: [
      [
        "if (registered === undefined) return `",
        "if (registered === undefined) return undefined;\n  if (registered < 0) return `",
      ],
    ],
    tests: properties,
  },
  {
    name: "replica-of-an-earlier-life-in-sync",
    breaks: "A replica is in sync only under its present registration.",
    file: `${at}alter-partition.ts`,
    replace: [["if (BigInt(registered) === brokerEpoch) return", "if (registered >= 0) return"]],
    tests: rules,
  },
  {
    name: "alteration-keeps-the-elr",
    breaks: "A change of the ISR changes the ELR by its rules.",
    file: `${at}alter-partition.ts`,
    replace: [
      ["elr: elrBeside(record, topic, isr, { brokers, directories }),", "elr: record.elr,"],
    ],
    tests: properties,
  },
  {
    name: "alteration-of-an-old-minimum",
    breaks: "An ELR is written with the epoch of the minimum that it was judged by.",
    file: `${at}alter-partition.ts`,
    replace: [["      minIsrEpoch: topic.minIsrEpoch,\n", ""]],
    tests: rules,
  },
  {
    name: "alteration-without-broker-epochs",
    breaks: "The broker epochs of a new ISR are written with it.",
    file: `${at}alter-partition.ts`,
    replace: [["      isrBrokerEpochs: epochs.map(([, epoch]) => BigInt(epoch)),\n", ""]],
    tests: properties,
  },
];

const written: readonly Mutant[] = [
  {
    name: "fenced-before-the-commit-in-sync",
    breaks: "A replica whose registration ends before the commit does not become in sync.",
    file: `${at}guarded-changes.ts`,
    replace: [["...[...(brokers ?? [])].map(", "...[...(brokers ?? [])].slice(99).map("]],
    tests: handlers,
  },
  {
    name: "registered-anew-before-the-commit-in-sync",
    breaks: "A replica that registers anew before the commit does not become in sync.",
    file: `${at}alter-partition.ts`,
    replace: [["    brokers: new Map(epochs),\n", "    brokers: new Map(),\n"]],
    tests: [`${at}alter-partition.test.ts`],
  },
  {
    name: "late-alteration-undoes-a-fencing",
    breaks: "A change that arrives late does not undo what the control loop has done.",
    file: `${at}guarded-changes.ts`,
    replace: [["...changes.map(\n", "...changes.slice(changes.length).map(\n"]],
    tests: handlers,
  },
  {
    name: "transactions-of-too-many-brokers",
    breaks: "The conditions of a transaction stay within what etcd takes.",
    file: `${at}guarded-changes.ts`,
    replace: [["part.length + 1 + together.size > compares", "part.length > compares"]],
    tests: [`${at}guarded-changes.test.ts`],
  },
  {
    name: "passive-controller-alters",
    breaks: "A controller that is not active refuses before it looks at a request.",
    file: `${at}replicas.ts`,
    replace: [["    active.writeOfReign();\n    callerOf", "    callerOf"]],
    tests: handlers,
  },
  {
    name: "call-of-an-old-registration",
    breaks: "A call of a registration that is over fails as a whole.",
    file: `${at}registered-caller.ts`,
    replace: [[" && BigInt(brokerEpoch) === request.brokerEpoch) {", ") {"]],
    tests: handlers,
  },
  {
    name: "alterations-without-end",
    breaks: "A call has at most 1,000 partitions.",
    file: `${at}replicas.ts`,
    replace: [
      [
        "const { partitionsPerCallMax: max } = replicaLimits;",
        "const max = replicaLimits.partitionsPerCallMax + 1;",
      ],
    ],
    tests: handlers,
  },
  {
    name: "one-partition-twice-in-a-call",
    breaks: "A partition is in a call once.",
    file: `${at}replicas.ts`,
    replace: [
      ["if (new Set(names).size === names.length) return", "if (names.length >= 0) return"],
    ],
    tests: handlers,
  },
  {
    name: "alterations-answered-in-another-order",
    breaks: "Results are in the order of the request.",
    file: `${at}replicas.ts`,
    replace: [
      [
        "for (const { index } of changes) results[index] = made(revision);",
        "for (const [index] of changes.entries()) results[index] = made(revision);",
      ],
    ],
    tests: handlers,
  },
  {
    name: "alteration-without-its-revision",
    breaks: "A result names the revision of the transaction.",
    file: `${at}replicas.ts`,
    replace: [["results[index] = made(revision);", "results[index] = made(newest - 1);"]],
    tests: handlers,
  },
  {
    name: "conflict-answered-as-made",
    breaks: "A change that met another one is not answered as made.",
    file: `${at}replicas.ts`,
    replace: [["results[index] = failed(changedMeanwhile());", "results[index] = made(newest);"]],
    tests: handlers,
  },
  {
    name: "half-a-call-without-effect",
    breaks: "A call that was done in part says that it may have had an effect.",
    file: `${at}replicas.ts`,
    replace: [["newest > 0 || isOutcomeUnknown", "isOutcomeUnknown"]],
    tests: handlers,
  },
  {
    name: "calls-overtake",
    breaks: "Calls of one broker are judged in order, each by what the one before has written.",
    file: `${at}replicas.ts`,
    replace: [
      [
        "return this.#lanes.run(request.brokerId, () => this.#alter(request, names));",
        "return this.#alter(request, names);",
      ],
    ],
    tests: handlers,
  },
  {
    name: "answered-before-the-mirror-has-read",
    breaks: "After an answer the next call is judged by what was written.",
    file: `${at}replicas.ts`,
    replace: [["    await active.waitForRevision(revision, replicaLimits.mirrorWaitMsMax);\n", ""]],
    tests: handlers,
  },
  {
    name: "calls-without-bound",
    breaks: "A broker has a bounded number of calls.",
    file: `${at}lanes.ts`,
    replace: [["lane.depth >= this.#depthMax", "lane.depth < 0"]],
    tests: [`${at}lanes.test.ts`, ...handlers],
  },
  {
    name: "failed-call-stops-the-lane",
    breaks: "A call that fails does not hold up the next one.",
    file: `${at}lanes.ts`,
    replace: [["lane.tail = done.catch(ignore);", "lane.tail = done;"]],
    tests: [`${at}lanes.test.ts`],
  },
  {
    name: "lanes-pile-up",
    breaks: "Nothing is kept of a broker without calls.",
    file: `${at}lanes.ts`,
    replace: [["if (lane.depth === 0) this", "if (lane.depth < 0) this"]],
    tests: [`${at}lanes.test.ts`],
  },
  {
    name: "replica-service-for-clients",
    breaks: "ReplicaService is served at the internal listener alone.",
    file: "packages/server/src/listen.ts",
    replace: [
      [
        "[...services.client, healthBinding]",
        "[...services.client, ...services.internal, healthBinding]",
      ],
      ["open(listeners.internal, [...services.internal, ", "open(listeners.internal, ["],
    ],
    tests: boots,
  },
];

const seen: readonly Mutant[] = [
  {
    name: "view-with-the-revision-of-creation",
    breaks: "A broker knows the revision of a partition's record.",
    file: `${view}mirror.ts`,
    replace: [
      [
        "(decodeRecord.partition(kv), kv.modRevision)",
        "(decodeRecord.partition(kv), kv.createRevision)",
      ],
    ],
    tests: [`${view}mirror.test.ts`],
  },
  {
    name: "view-with-the-revision-of-an-address",
    breaks: "A broker epoch is the create revision of a registration.",
    file: `${view}mirror.ts`,
    replace: [["epoch: kv.createRevision,", "epoch: kv.modRevision,"]],
    tests: [`${view}mirror.test.ts`],
  },
  {
    name: "view-without-internal-addresses",
    breaks: "A broker knows where the others listen for brokers.",
    file: `${view}mirror.ts`,
    replace: [
      ["        internalEndpoint,\n        { broker", "        clientEndpoint,\n        { broker"],
    ],
    tests: [`${view}mirror.test.ts`],
  },
  {
    name: "clients-told-of-the-isr",
    breaks: "A change of the ISR alone is not sent to clients.",
    file: `${view}route-history.ts`,
    replace: [
      [
        "a?.leader === b.leader && a",
        "a?.modRevision === b.modRevision && a.leader === b.leader && a",
      ],
    ],
    tests: [`${view}watch.test.ts`, `${view}mirror.test.ts`],
  },
];

export const controllerReplicaMutants: readonly Mutant[] = [...judged, ...written, ...seen];

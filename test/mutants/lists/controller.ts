import type { Mutant } from "../mutant.ts";
import { controllerElectionMutants } from "./controller-election.ts";
import { controllerReplicaMutants } from "./controller-replicas.ts";
import { controllerRuleMutants } from "./controller-rules.ts";

const at = "services/controller/src/";
const boot = "services/standalone/src/boot/";
const admin = [`${at}controller.test.ts`];
const boots = [`${boot}boot.test.ts`];

const requests: readonly Mutant[] = [
  {
    name: "request-goes-on-in-another-reign",
    breaks: "Partitions and their topic are written in one reign.",
    file: `${at}controller.ts`,
    replace: [
      [
        "return active === undefined ? this.#registry : new Registry(store, active.writeOfReign());",
        "return active === undefined ? new Registry(store, unguarded(store)) : this.#registry;",
      ],
    ],
    tests: [`${at}reigns.test.ts`],
  },
  {
    name: "passive-controller-answers",
    breaks: "Only the active controller answers.",
    file: `${at}controller.ts`,
    replace: [["        this.#options.active?.requireActive();\n", ""]],
    tests: admin,
  },
  {
    name: "growth-overwrites-growth",
    breaks: "A topic grows only from the partitions that it has.",
    file: `${at}controller.ts`,
    replace: [
      ["const unchanged = [isUnchanged(topic), condition];", "const unchanged = [condition];"],
    ],
    tests: admin,
  },
  {
    name: "new-partitions-without-broker-epochs",
    breaks: "New partitions name the broker epochs of their replicas.",
    file: `${at}registry.ts`,
    replace: [["byId.get(brokerId)?.epoch ?? 0)", "byId.get(-1 - brokerId)?.epoch ?? 0)"]],
    tests: [...admin, ...boots],
  },
  {
    name: "minimum-changes-unseen",
    breaks: "A change of min.insync.replicas is told to the rules.",
    file: `${at}controller.ts`,
    replace: [["(isSameMinimum ? 0 : 1)", "(isSameMinimum ? 0 : 0)"]],
    tests: admin,
  },
  {
    name: "generation-made-at-every-start",
    breaks: "A cluster keeps its generation.",
    file: `${at}bootstrap.ts`,
    replace: [
      [
        "await store.txn([noGeneration], [putGeneration(newGeneration(random))]);\n  }",
        "}\n  await store.txn([], [putGeneration(newGeneration(random))]);",
      ],
    ],
    tests: admin,
  },
  {
    name: "two-starts-two-generations",
    breaks: "A generation is added only where there is none.",
    file: `${at}bootstrap.ts`,
    replace: [["store.txn([noGeneration], [", "store.txn([], ["]],
    tests: admin,
  },
  {
    name: "newer-metadata-rewritten",
    breaks: "Metadata of a newer version is not touched.",
    file: "packages/metadata/src/cluster.ts",
    replace: [
      [
        "  if (formatVersion <= metadataFormatVersion) return record;",
        "  if (formatVersion > 0) return record;",
      ],
    ],
    tests: admin,
  },
  {
    name: "boot-serves-before-leaders-are-there",
    breaks: "A process serves only after its leaders are decided.",
    file: `${boot}controller.ts`,
    replace: [
      [
        "if (alone && !(await active.settled(registration.epoch, settleTimeoutMs))) {",
        "if (alone && registration.epoch < 0) {",
      ],
    ],
    tests: boots,
  },
  {
    name: "boot-keeps-its-registration",
    breaks: "A process that stops is registered no more.",
    file: "services/broker/src/process/parts.ts",
    replace: [["  undo.add(() => registration.close());\n", ""]],
    tests: boots,
  },
  {
    name: "boot-keeps-its-election",
    breaks: "A process that stops is not the controller any more.",
    file: `${at}process/parts.ts`,
    replace: [["  undo.add(() => active.close());\n", ""]],
    tests: boots,
  },
  {
    name: "boot-registers-no-address",
    breaks: "A broker is registered with its addresses.",
    file: `${boot}boot.ts`,
    replace: [
      ["    clientEndpoint: options.advertise(endpoints.client),", '    clientEndpoint: "",'],
    ],
    tests: boots,
  },
  {
    name: "boot-announces-no-controller",
    breaks: "Brokers and clients find the active controller by its record.",
    file: `${boot}boot.ts`,
    replace: [["  await active.announce(addresses);\n", ""]],
    tests: boots,
  },
  {
    name: "election-keeps-old-addresses",
    breaks: "An address that was told during an attempt is in the controller's record.",
    file: "services/controller/src/election.ts",
    replace: [["    if (this.#isOutdated) await this.#tell(epoch);\n", ""]],
    tests: ["services/controller/src/election.test.ts"],
  },
  {
    name: "active-controller-announces-later",
    breaks: "The active controller tells a new address at once.",
    file: "services/controller/src/election.ts",
    replace: [["    if (reign?.isActive === true) await this.#tell(reign.epoch);\n", ""]],
    tests: ["services/controller/src/election.test.ts"],
  },
  {
    name: "deletions-confirmed-unchecked",
    breaks: "A call with a bad topic id confirms nothing.",
    file: "services/controller/src/replicas.ts",
    replace: [
      [
        "for (const topicId of checked) await deletionDone(topicId, brokerId);",
        "for (const id of topicIds) await deletionDone(checkedId(id), brokerId);",
      ],
      ["    const checked = topicIds.map(checkedId);\n", ""],
    ],
    tests: ["services/controller/src/replicas.test.ts"],
  },
  {
    name: "view-keeps-a-controller-that-is-gone",
    breaks: "Between two elections there is no controller to ask.",
    file: "services/broker/src/metadata/mirror.ts",
    replace: [["      this.#controller = noController;\n", ""]],
    tests: ["services/broker/src/metadata/mirror.test.ts"],
  },
  {
    name: "watchers-miss-a-new-controller",
    breaks: "Who watches the metadata is told of another controller.",
    file: "services/broker/src/metadata/mirror.ts",
    replace: [
      [
        "          changed.brokers = true;\n          this.#takeController(type, kv);",
        "          this.#takeController(type, kv);",
      ],
    ],
    tests: ["services/broker/src/metadata/mirror.test.ts"],
  },
];

export const controllerMutants: readonly Mutant[] = [
  ...controllerRuleMutants,
  ...controllerElectionMutants,
  ...controllerReplicaMutants,
  ...requests,
];

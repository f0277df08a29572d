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
    replace: [["const unchanged = [isUnchanged(topic)];", "const unchanged: Compare[] = [];"]],
    tests: admin,
  },
  {
    name: "new-partitions-without-broker-epochs",
    breaks: "New partitions name the broker epochs of their replicas.",
    file: `${at}registry.ts`,
    replace: [["BigInt(epochs.get(brokerId) ?? 0)", "BigInt(epochs.get(-1 - brokerId) ?? 0)"]],
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
    file: `${at}bootstrap.ts`,
    replace: [["  if (known !== undefined) checkFormat(known.formatVersion);\n", ""]],
    tests: admin,
  },
  {
    name: "boot-serves-before-leaders-are-there",
    breaks: "A process serves only after its leaders are decided.",
    file: `${boot}controller.ts`,
    replace: [
      [
        "if (alone && !(await active.settled(registration.epoch, settleTimeoutMs))) {",
        "if (registration.epoch < 0) {",
      ],
    ],
    tests: boots,
  },
  {
    name: "boot-keeps-its-registration",
    breaks: "A process that stops is registered no more.",
    file: `${boot}controller.ts`,
    replace: [["  undo.add(() => registration.close());\n", ""]],
    tests: boots,
  },
  {
    name: "boot-keeps-its-election",
    breaks: "A process that stops is not the controller any more.",
    file: `${boot}controller.ts`,
    replace: [["  undo.add(() => active.close());\n", ""]],
    tests: boots,
  },
  {
    name: "boot-registers-no-address",
    breaks: "A broker is registered with its addresses.",
    file: `${boot}boot.ts`,
    replace: [["    clientEndpoint: options.advertise(endpoints.client),\n", ""]],
    tests: boots,
  },
];

export const controllerMutants: readonly Mutant[] = [
  ...controllerRuleMutants,
  ...controllerElectionMutants,
  ...controllerReplicaMutants,
  ...requests,
];

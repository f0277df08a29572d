/** Mutants of the operator's process. */
import type { Mutant } from "../mutant.ts";

const at = "operator/src/process/";
const connections = [`${at}connections.test.ts`];
const running = ["test/integration/operator-process.test.ts"];

export const operatorProcessMutants: readonly Mutant[] = [
  {
    name: "operator-connection-to-an-earlier-cluster",
    breaks: "Another Cluster of a name is another connection.",
    file: `${at}connections.ts`,
    replace: [["cluster.metadata.uid} $", "address?.length} $"]],
    tests: connections,
  },
  {
    name: "operator-connections-without-a-bound",
    breaks: "There are so many connections at most.",
    file: `${at}connections.ts`,
    replace: [["this.#entries.size > connectionsMax", "this.#entries.size < 0"]],
    tests: connections,
  },
  {
    name: "operator-connections-used-go-first",
    breaks: "The connection that was not asked for the longest goes.",
    file: `${at}connections.ts`,
    replace: [
      [
        "    if (known !== undefined) this.#entries.delete(key);\n    if (known !== undefined && known.to",
        "    if (known !== undefined && known.to",
      ],
    ],
    tests: connections,
  },
  {
    name: "operator-connection-left-open",
    breaks: "A connection to an address that is none any more is closed.",
    file: `${at}connections.ts`,
    replace: [["known !== undefined && known.to !== to", "known === undefined"]],
    tests: connections,
  },
  {
    name: "operator-standby-acts",
    breaks: "Only the operator that leads acts.",
    file: `${at}server.ts`,
    replace: [
      [
        "if (isElected) election.start();",
        "void parts.manager.reconcile();\n    if (isElected) election.start();",
      ],
    ],
    tests: running,
  },
  {
    name: "operator-goes-on-without-its-lease",
    breaks: "An operator whose lease is another's ends.",
    file: `${at}server.ts`,
    replace: [["    onLost: endProcess,", "    onLost: () => {},"]],
    tests: running,
  },
  {
    name: "operator-keeps-its-lease",
    breaks: "An operator that is stopped hands its lease on.",
    file: `${at}server.ts`,
    replace: [["    undo.add(() => election.stop());\n", ""]],
    tests: running,
  },
  {
    name: "operator-start-cannot-be-ended",
    breaks: "A start that waits for the API server heeds a signal.",
    file: `${at}server.ts`,
    replace: [["await untilAborted(parts.synced, signal);", "await parts.synced;"]],
    tests: running,
  },
  {
    name: "operator-alive-by-what-it-hears",
    breaks: "An API server that cannot be reached is no reason to begin anew.",
    file: "operator/src/runtime/informer.ts",
    replace: [
      [
        "    this.#answeredMs = this.#options.clock.monoMs();\n    this.#restarted",
        "    this.#restarted",
      ],
    ],
    tests: ["operator/src/runtime/informer.test.ts"],
  },
];

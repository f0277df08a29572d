/** Mutants of `npm run cluster`. */
import type { Mutant } from "../mutant.ts";

const tool = "tools/cluster/";
const supervisors = [`${tool}supervisor.test.ts`];
const commandLines = [`${tool}command-line.test.ts`];
const layouts = [`${tool}layout.test.ts`];

export const toolsClusterMutants: readonly Mutant[] = [
  {
    name: "cluster-starts-while-it-stops",
    breaks: "Nothing starts a process once the cluster stops.",
    file: `${tool}managed.ts`,
    replace: [["this.#child !== undefined || this.#isClosed", "this.#child !== undefined"]],
    tests: supervisors,
  },
  {
    name: "cluster-stop-does-not-last",
    breaks: "A process that was stopped by hand stays down.",
    file: `${tool}managed.ts`,
    replace: [['if (this.#state === "stopped") {', 'if (this.#state === "paused") {']],
    tests: supervisors,
  },
  {
    name: "cluster-paused-process-hears-no-stop",
    breaks: "A process that is paused goes on, so that it can stop.",
    file: `${tool}managed.ts`,
    replace: [
      ['    this.#signal("SIGCONT");\n    this.#signal("SIGTERM")', '    this.#signal("SIGTERM")'],
    ],
    tests: supervisors,
  },
  {
    name: "cluster-reports-what-was-stopped",
    breaks: "A cluster that was stopped while it started is not reported as ready.",
    file: `${tool}supervisor.ts`,
    replace: [["if (this.#isStopping) return false;", "if (this.#isStopping) return true;"]],
    tests: supervisors,
  },
  {
    name: "cluster-takes-a-directory-from-another",
    breaks: "One supervisor at a time has a directory.",
    file: `${tool}control.ts`,
    replace: [["if (await isServed(path)) {", "if (path === directory) {"]],
    tests: supervisors,
  },
  {
    name: "cluster-command-without-a-supervisor-crashes",
    breaks: "A command where no cluster runs says so in one line.",
    file: `${tool}control.ts`,
    replace: [['  lines.on("error", () => {});\n', ""]],
    tests: commandLines,
  },
  {
    name: "cluster-of-two-members",
    breaks: "etcd has an odd number of members.",
    file: `${tool}command-line.ts`,
    replace: [["/^[135]$/", "/^[1-5]$/"]],
    tests: commandLines,
  },
  {
    name: "cluster-suggests-too-many-replicas",
    breaks: "What is suggested works with fewer than three brokers.",
    file: `${tool}report.ts`,
    replace: [["replicasOf(brokers)", "3"]],
    tests: layouts,
  },
];

/** Mutants of `npm run k8s:up` and `npm run k8s:down`. */
import type { Mutant } from "../mutant.ts";

const at = "tools/k8s/";
const test = (name: string): string[] => [`${at}${name}.test.ts`];

export const toolsKubernetesMutants: readonly Mutant[] = [
  {
    name: "k8s-ends-a-foreign-process",
    breaks: "A process that has got the pid of one that ended is left alone.",
    file: `${at}processes.ts`,
    replace: [["startOf(pid) === started", "startOf(pid) !== undefined || started === ''"]],
    tests: test("processes"),
  },
  {
    name: "k8s-never-by-force",
    breaks: "A process that does not end by itself is ended by force.",
    file: `${at}processes.ts`,
    replace: [['signal(identity, "SIGKILL")', 'signal(identity, "SIGTERM")']],
    tests: test("processes"),
  },
  {
    name: "k8s-waits-for-the-dead",
    breaks: "A wait ends when a process that it needs has ended.",
    file: `${at}processes.ts`,
    replace: [["    if (ended !== undefined) {", "    if (ended?.pid === 0) {"]],
    tests: test("processes"),
  },
  {
    name: "k8s-name-with-a-bracket",
    breaks: "A name of a process that has a bracket in it does not move the fields.",
    file: `${at}processes.ts`,
    replace: [['line.lastIndexOf(")")', 'line.indexOf(")")']],
    tests: test("processes"),
  },
  {
    name: "k8s-somebody-elses-port",
    breaks: "A port counts only when the process that was given it listens there.",
    file: `${at}ports.ts`,
    replace: [["some((one) => sockets.has(one))", "some((one) => one !== '' || sockets.has(one))"]],
    tests: test("ports"),
  },
  {
    name: "k8s-connections-listen",
    breaks: "A connection on a port is no listener.",
    file: `${at}ports.ts`,
    replace: [['state === "0A" && ', 'state !== "" && ']],
    tests: test("ports"),
  },
  {
    name: "k8s-begins-over-a-cluster",
    breaks: "A second cluster does not overwrite the notes of the first.",
    file: `${at}state.ts`,
    replace: [["if (readState(directory) !== undefined)", "if (readState('') !== undefined)"]],
    tests: test("state"),
  },
  {
    name: "k8s-begins-beside-files",
    breaks: "A directory with other files in it, which down would remove, is refused.",
    file: `${at}state.ts`,
    replace: [["readdirSync(directory).length > 0", "readdirSync(directory).length > 99"]],
    tests: test("state"),
  },
  {
    name: "k8s-forgets-who-was-started",
    breaks: "Every process that was started is noted.",
    file: `${at}state.ts`,
    replace: [["[...this.#state.processes, { name", "[{ name"]],
    tests: test("state"),
  },
  {
    name: "k8s-unmounts-neighbours",
    breaks: "Nothing is unmounted beside the directory.",
    file: `${at}undo.ts`,
    replace: [["}/`)", "}`)"]],
    tests: test("state"),
  },
  {
    name: "k8s-removes-others-namespaces",
    breaks: "Network namespaces of others, made since, stay.",
    file: `${at}undo.ts`,
    replace: [["readdirSync(here).length > 0", "readdirSync(here).length > 99"]],
    tests: test("state"),
  },
  {
    name: "k8s-removes-another-containerd",
    breaks: "The directory of another containerd, started since, stays.",
    file: `${at}undo.ts`,
    replace: [['existsSync(join(here, "containerd.sock"))', "existsSync(join(here, '..', 'no'))"]],
    tests: test("state"),
  },
  {
    name: "k8s-removes-others-rules",
    breaks: "A table with rules of others stays.",
    file: `${at}nft.ts`,
    replace: [["&& others.length === 0", "&& others.length >= 0"]],
    tests: test("nft"),
  },
  {
    name: "k8s-removes-what-was-there",
    breaks: "A table that was there before stays.",
    file: `${at}nft.ts`,
    replace: [["!before.includes(table)", "!before.includes('')"]],
    tests: test("nft"),
  },
  {
    name: "k8s-keeps-the-way-to-plugins",
    breaks: "Rules that lead to chains of the plugins are removed.",
    file: `${at}nft.ts`,
    replace: [["isLeading(one) && stays(one)", "!isLeading(one) && stays(one)"]],
    tests: test("nft"),
  },
];

/** The command line: places in a log, terminals, profiles, completion. */
import type { Mutant } from "../mutant.ts";

const src = "packages/cli/src";
const unit = [`${src}/cli.test.ts`];
const reading = ["test/integration/cli-reading.test.ts"];
const terminal = [`${src}/terminal.test.ts`];
const profiles = [`${src}/profiles.test.ts`];

export const commandLineMutants: readonly Mutant[] = [
  {
    name: "cli-time-without-zone-is-local",
    breaks: "A time without a zone is UTC.",
    file: `${src}/position.ts`,
    replace: [['time = "00:00", zone = "Z"]', 'time = "00:00", zone = "+01:00"]']],
    tests: unit,
  },
  {
    name: "cli-day-of-no-month",
    breaks: "A day that its month does not have is refused.",
    file: `${src}/position.ts`,
    replace: [[" || midnight.getUTCDate() !== Number(day)", ""]],
    tests: unit,
  },
  {
    name: "cli-to-is-read",
    breaks: "The offset that --to names is not read.",
    file: `${src}/consume.ts`,
    replace: [["offset < end);", "offset <= end);"]],
    tests: reading,
  },
  {
    name: "cli-pattern-dot-is-any",
    breaks: "Only * and ? mean other characters.",
    file: `${src}/consume-range.ts`,
    replace: [['found === "*" ? ".*"', 'found === "*" ? ""']],
    tests: reading,
  },
  {
    name: "cli-end-is-said-again",
    breaks: "That the end is reached is said once.",
    file: `${src}/consume.ts`,
    replace: [["    this.#said = true;\n", ""]],
    tests: reading,
  },
  {
    name: "cli-delete-before-look",
    breaks: "No topic is deleted where one of the names is wrong.",
    file: `${src}/topic.ts`,
    replace: [["        await client.admin.describeTopics({ names });\n", ""]],
    tests: reading,
  },
  {
    name: "cli-status-over-output",
    breaks: "Output that ends within a line is not painted over.",
    file: `${src}/terminal.ts`,
    replace: [["this.#timer === undefined || this.#midLine", "this.#timer === undefined"]],
    tests: terminal,
  },
  {
    name: "cli-status-stays",
    breaks: "A line stands above the status line.",
    file: `${src}/terminal.ts`,
    replace: [
      [
        "    const isEcho = this.#isBehindEcho();\n    this.#clear();\n",
        "    const isEcho = this.#isBehindEcho();\n",
      ],
    ],
    tests: terminal,
  },
  {
    name: "cli-status-wraps",
    breaks: "A status line is no wider than the terminal.",
    file: `${src}/terminal.ts`,
    replace: [["text.length <= width", "text.length > 0"]],
    tests: terminal,
  },
  {
    name: "cli-status-before-what-is-typed",
    breaks: "Where a person types, there is no status line.",
    file: `${src}/terminal.ts`,
    replace: [["io.progress && !isTyped", "io.progress"]],
    tests: terminal,
  },
  {
    name: "cli-prompt-behind-echo",
    breaks: "What follows a Ctrl-C stands on a line of its own.",
    file: `${src}/terminal.ts`,
    replace: [['    if (this.#isBehindEcho()) this.#write("\\n");\n', ""]],
    tests: terminal,
  },
  {
    name: "cli-rate-of-all-time",
    breaks: "The rate is that of the last seconds.",
    file: `${src}/progress.ts`,
    replace: [["< now.atMs - windowMs) this.#samples.shift();", "< 0) this.#samples.shift();"]],
    tests: terminal,
  },
  {
    name: "cli-profile-over-environment",
    breaks: "MILLRACE_BOOTSTRAP is nearer than a profile.",
    file: `${src}/profiles.ts`,
    replace: [["flags.profile === undefined && address", "false"]],
    tests: profiles,
  },
  {
    name: "cli-profile-empty-variable",
    breaks: "An empty variable counts as unset.",
    file: `${src}/profiles.ts`,
    replace: [["(named || found.current)", "(named ?? found.current)"]],
    tests: profiles,
  },
  {
    name: "cli-empty-variable",
    breaks: "An empty MILLRACE_BOOTSTRAP counts as unset.",
    file: `${src}/profiles.ts`,
    replace: [["=== undefined && address)", "=== undefined && address !== undefined)"]],
    tests: profiles,
  },
  {
    name: "cli-json-loses-bytes",
    breaks: "Bytes that are no text come back as they were.",
    file: `${src}/produce-json.ts`,
    replace: [
      ['if (bytes.toString("base64") === base64) return bytes;', "return bytes.toString();"],
    ],
    tests: [`${src}/produce-json.test.ts`],
  },
  {
    name: "cli-complete-hidden",
    breaks: "Hidden commands are no candidates.",
    file: `${src}/completion.ts`,
    replace: [["command.createHelp().visibleCommands(command)", "command.commands"]],
    tests: [`${src}/completion.test.ts`],
  },
  {
    name: "cli-colour-in-pipes",
    breaks: "Colours are for terminals that want them.",
    file: `${src}/io.ts`,
    replace: [['isTerminal && !env["NO_COLOR"]', '!env["NO_COLOR"]']],
    tests: [`${src}/table.test.ts`],
  },
  {
    name: "cli-verify-in-use",
    breaks: "The logs of a running server are not verified.",
    file: `${src}/log.ts`,
    replace: [["    if (!(await isInUse(path))) return;\n    throw", "    return;\n    throw"]],
    tests: reading,
  },
  {
    name: "server-any-directory",
    breaks: "A directory with other things in it is refused.",
    file: "packages/server/src/node/data-directory.ts",
    replace: [["if (names.length > 0 && !names.some", "if (names.length > 99 && !names.some"]],
    tests: ["packages/server/src/node/data-directory.test.ts"],
  },
  {
    name: "server-wildcard-guess",
    breaks: "A listener on all addresses needs one that is told.",
    file: "packages/server/src/node/address.ts",
    replace: [["!isWildcard(host) || isContainer", 'isContainer || host !== ""']],
    tests: ["packages/server/src/node/address.test.ts"],
  },
  {
    name: "cli-outage-every-second",
    breaks: "Without a terminal there is a line every ten seconds.",
    file: `${src}/outage.ts`,
    replace: [["nowMs - this.#toldMs < repeatMs", "nowMs < this.#toldMs"]],
    tests: [`${src}/outage.test.ts`],
  },
  {
    name: "cli-outage-cut-off",
    breaks: "On a narrow terminal the reason for waiting stands whole.",
    file: `${src}/outage.ts`,
    replace: [["!this.#terminal.hasStatus || text.length < this.#io.columns()", 'text !== ""']],
    tests: [`${src}/outage.test.ts`],
  },
  {
    name: "cli-outage-goes-on-untold",
    breaks: "A break that nobody noticed is not told as over.",
    file: `${src}/outage.ts`,
    replace: [["    if (!this.#told) return;\n", ""]],
    tests: [`${src}/outage.test.ts`],
  },
  {
    name: "cli-outage-of-produce",
    breaks: "A produce whose server is lost says so.",
    file: `${src}/produce.ts`,
    replace: [["    onState: outage.onState,\n", ""]],
    tests: reading,
  },
  {
    name: "cli-outage-of-consume",
    breaks: "A consume whose server is lost says so.",
    file: `${src}/consume.ts`,
    replace: [
      [
        "client.consumer({ untilEnd, isolation, onState })",
        "client.consumer({ untilEnd, isolation })",
      ],
    ],
    tests: reading,
  },
];

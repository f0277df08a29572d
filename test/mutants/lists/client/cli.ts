import type { Mutant } from "../../mutant.ts";

const cliTest = ["packages/cli/src/cli.test.ts"];
const cliProcessTest = ["test/integration/cli.test.ts"];

export const cliMutants: readonly Mutant[] = [
  {
    name: "cli-option-of-the-client",
    breaks: "where no server answers, the flag or the variable with the address is named",
    file: "packages/cli/src/shared.ts",
    replace: [["adviceOf(thrown.message, source)", "thrown.message"]],
    tests: cliTest,
  },
  {
    name: "cli-position-without-flag",
    breaks: "for an offset that is not there, --from is named",
    file: "packages/cli/src/run.ts",
    replace: [["inFlags(error.message", "String(error.message"]],
    tests: ["test/integration/cli-reading.test.ts"],
  },
  {
    name: "cli-signal-polled",
    breaks: "Ctrl-C does not end a produce that waits for input",
    file: "packages/cli/src/produce.ts",
    replace: [
      ["await interruptible(io.signal, sendAll(run, plan, io));", "await sendAll(run, plan, io);"],
    ],
    tests: cliProcessTest,
  },
  {
    name: "cli-sigterm-kills",
    breaks: "SIGTERM ends a produce without its summary",
    file: "packages/cli/src/signals.ts",
    replace: [
      [
        "const exitCodes = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 }",
        "const exitCodes = { SIGHUP: 129, SIGINT: 130 }",
      ],
    ],
    tests: cliProcessTest,
  },
  {
    name: "cli-waits-for-silent-server",
    breaks: "Ctrl-C does not end a command that waits for a server",
    file: "packages/cli/src/shared.ts",
    replace: [
      [
        "const client = await interruptible(io.signal, connectClient(io, flags));",
        "const client = await connectClient(io, flags);",
      ],
    ],
    tests: cliTest,
  },
  {
    name: "cli-closed-pipe-ends-produce",
    breaks: "a part of the input is not written when the reader of the offsets goes away",
    file: "packages/cli/src/produce-run.ts",
    replace: [["if (!(thrown instanceof ClosedPipe)) throw thrown;", "throw thrown;"]],
    tests: cliProcessTest,
  },
  {
    name: "cli-closed-pipe-hides-damage",
    breaks: "log verify exits with 0 although it found damage, when nobody reads its report",
    file: "packages/cli/src/io.ts",
    replace: [["    if (!(thrown instanceof ClosedPipe)) throw thrown;\n", "    throw thrown;\n"]],
    tests: cliProcessTest,
  },
  {
    name: "cli-line-copied-again",
    breaks: "the time for a long line grows with the square of its length",
    file: "packages/cli/src/lines.ts",
    replace: [
      [
        "const carried = takeTail(pieces, delimiter.length - 1);",
        "const carried = takeTail(pieces, pieceBytes);",
      ],
    ],
    tests: cliTest,
  },
  {
    name: "cli-delimiter-across-chunks",
    breaks: "a delimiter that begins in one chunk and ends in the next is not found",
    file: "packages/cli/src/lines.ts",
    replace: [
      [
        "const carried = takeTail(pieces, delimiter.length - 1);",
        "const carried = takeTail(pieces, 0);",
      ],
    ],
    tests: cliTest,
  },
  {
    name: "cli-line-limit-late",
    breaks: "a line without an end is read into memory without a bound",
    file: "packages/cli/src/lines.ts",
    replace: [
      [
        "if (pieceBytes > recordBytesMax + delimiter.length) {",
        "if (pieceBytes > recordBytesMax * 1000) {",
      ],
    ],
    tests: cliTest,
  },
  {
    name: "cli-configs-as-object",
    breaks: "--config __proto__=1 is dropped without a word",
    file: "packages/cli/src/topic.ts",
    replace: [
      [
        "    configs.set(key, pair.slice(at + 1));",
        "    if (key in {}) continue;\n    configs.set(key, pair.slice(at + 1));",
      ],
    ],
    tests: cliTest,
  },
  {
    name: "cli-empty-separator",
    breaks: "an empty --key-separator makes every key empty",
    file: "packages/cli/src/produce-input.ts",
    replace: [["if (bytes.length === 0) throw", "if (bytes.length > 1000) throw"]],
    tests: cliTest,
  },
  {
    name: "cli-dump-directory-internal",
    breaks: "log dump of a directory is called an internal error",
    file: "packages/cli/src/log.ts",
    replace: [["  if (!is(found)) throw new", "  if (found === null) throw new"]],
    tests: cliTest,
  },
  {
    name: "cli-typo-called-damage",
    breaks: "log verify of a path that is not there speaks of damage",
    file: "packages/cli/src/log.ts",
    replace: [["  await checkDirectory(directory);\n", ""]],
    tests: cliTest,
  },
  {
    name: "cli-closed-stderr-ends-work",
    breaks: "a closed stderr ends the work, with 0",
    file: "packages/cli/src/io.ts",
    replace: [["write(io.stderr, text).catch(() => {})", "write(io.stderr, text)"]],
    tests: [...cliTest, ...cliProcessTest],
  },
  {
    name: "cli-time-beyond-dates",
    breaks: "a timestamp that no Date can hold ends the printing",
    file: "packages/cli/src/format.ts",
    replace: [["Math.abs(timestampMs) <= dateMsMax", "timestampMs <= Number.MAX_SAFE_INTEGER"]],
    tests: cliTest,
  },
  {
    name: "cli-alter-half",
    breaks: "topic alter changes configs before it refuses a wrong partition count",
    file: "packages/cli/src/topic.ts",
    replace: [
      [
        'wholeNumber("--partitions", String(flags["partitions"]), 1, 10_000);\n      if (partitions === undefined',
        'Number(flags["partitions"]);\n      if (partitions === undefined',
      ],
    ],
    tests: cliTest,
  },
];

/** The command line as a function: arguments in, exit code out. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { build } from "@millrace/server/build";
import { Command, CommanderError } from "commander";
import { inFlags } from "./advice.ts";
import { brokerGroup, clusterGroup } from "./cluster.ts";
import { addCompletion } from "./completion.ts";
import { consumeCommand } from "./consume.ts";
import { getCommand } from "./get.ts";
import { groupCommand } from "./group.ts";
import {
  ClosedPipe,
  exitCodes,
  Interrupted,
  type Io,
  interruptCode,
  printResult,
  styled,
  tell,
  UsageError,
} from "./io.ts";
import { logCommand } from "./log.ts";
import { maintenanceGroup } from "./maintenance.ts";
import { produceCommand } from "./produce.ts";
import { profileCommand } from "./profile.ts";
import { rebalanceGroup } from "./rebalance.ts";
import { topicCommand } from "./topic.ts";
import { versionText } from "./version.ts";

/** The Node that the server is built for and tested with. A clone brings it. */
const serverNode = 26;

const checkServerNode = (): void => {
  const [major = 0] = process.versions.node.split(".").map(Number);
  if (build === undefined || major >= serverNode) return;
  throw new MillraceError(
    ErrorCode.UNSUPPORTED_OPERATION,
    `the server needs Node ${serverNode}, and this is Node ${process.versions.node}: ` +
      `install Node ${serverNode}; the other commands need only 22`,
  );
};

const serve = (io: Io, ended: (code: number) => void): Command =>
  new Command("serve")
    .description("Run the standalone server")
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .argument("[FLAGS...]")
    .action(async (flags: string[]) => {
      checkServerNode();
      const { runServer } = await import("@millrace/standalone");
      ended(await runServer(flags, io.env));
    });

/** The command line with all its commands. */
export const program = (io: Io, ended: (code: number) => void = () => {}): Command => {
  const root = new Command("millrace")
    .description("Millrace: an event-streaming platform over gRPC")
    .enablePositionalOptions()
    .option("--version", "print the version, the commit and that of Node")
    .showSuggestionAfterError()
    .addHelpText("after", "\nExample:\n  echo hello | millrace produce logs");
  root.addCommand(serve(io, ended));
  for (const make of [
    topicCommand,
    produceCommand,
    consumeCommand,
    getCommand,
    groupCommand,
    brokerGroup,
    rebalanceGroup,
    clusterGroup,
    maintenanceGroup,
    profileCommand,
    logCommand,
  ]) {
    root.addCommand(make(io));
  }
  addCompletion(root, io);
  quiet(root, io);
  return root;
};

/** Makes Commander throw instead of ending the process, and write to `io`. */
const quiet = (command: Command, io: Io): void => {
  command.exitOverride();
  command.configureOutput({
    writeOut: (text) => void io.stdout.write(text),
    writeErr: (text) => void io.stderr.write(text),
    outputError: () => {},
  });
  for (const sub of command.commands) quiet(sub, io);
};

const errorWord = (io: Io): string => styled(io, "stderr", "red", "error:");

const report = async (io: Io, thrown: unknown): Promise<number> => {
  if (thrown instanceof ClosedPipe) return exitCodes.done;
  if (thrown instanceof Interrupted || io.signal.aborted) return interruptCode(io.signal);
  if (thrown instanceof CommanderError) {
    if (thrown.exitCode === 0) return exitCodes.done;
    if (thrown.code === "commander.help") return exitCodes.usage;
    const text = thrown.message.replace(/^error: |\.$/g, "").replaceAll("\n", " ");
    await tell(io, `${errorWord(io)} INVALID_REQUEST: ${text}: see --help\n`);
    return exitCodes.usage;
  }
  const error = MillraceError.from(thrown);
  const text = inFlags(error.message.replaceAll("\n", " "));
  await tell(io, `${errorWord(io)} ${error.codeName}: ${text}\n`);
  return error instanceof UsageError ? exitCodes.usage : exitCodes.failed;
};

/** Runs a command line. Never rejects. */
export const run = async (argv: readonly string[], io: Io): Promise<number> => {
  let code: number = exitCodes.done;
  try {
    if (argv[0] === "--version") {
      await printResult(io, `${await versionText()}\n`);
      return code;
    }
    await program(io, (ended) => {
      code = ended;
    }).parseAsync([...argv], { from: "user" });
    return io.signal.aborted && code === exitCodes.done ? interruptCode(io.signal) : code;
  } catch (thrown) {
    // Without anybody to read the report, the exit code tells it.
    return report(io, thrown).catch(() => exitCodes.failed);
  }
};

/** `millrace produce`. */
import type { Client, ProducerOptions } from "@millrace/client";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { type Command, Option } from "commander";
import {
  collect,
  counted,
  Interrupted,
  type Io,
  interruptible,
  isTyped,
  UsageError,
  wholeNumber,
} from "./io.ts";
import { Outage } from "./outage.ts";
import {
  bytesOfInputs,
  type Cutting,
  checkFiles,
  cuttingOf,
  piecesOf,
  recordOf,
  type Shape,
  shapeOf,
} from "./produce-input.ts";
import { ProduceRun } from "./produce-run.ts";
import { Progress } from "./progress.ts";
import { type ClusterFlags, clusterCommand, withClient } from "./shared.ts";
import { Terminal } from "./terminal.ts";

type Flags = ClusterFlags & Readonly<Record<string, unknown>>;

/** Delays records so that at most `rate` are sent per second. */
const pacer = (rate: number | undefined): (() => Promise<void>) => {
  if (rate === undefined) return async () => {};
  const startedMs = performance.now();
  let sent = 0;
  return async () => {
    const dueMs = startedMs + (sent / rate) * 1000;
    sent += 1;
    const waitMs = dueMs - performance.now();
    if (waitMs > 1) await new Promise((resolve) => setTimeout(resolve, waitMs));
  };
};

const parseRate = (text: unknown): number | undefined => {
  if (text === undefined) return undefined;
  const match = /^(\d{1,9})(\/s)?$/.exec(String(text));
  if (match === null || Number(match[1]) < 1) throw new UsageError(`--rate ${text}: use N/s`);
  return Number(match[1]);
};

const deliveryTimeoutMsOf = (flags: Flags): number =>
  1000 * wholeNumber("--delivery-timeout", String(flags["deliveryTimeout"]), 1, 86_400);

/** The flags, checked before a server is asked. */
interface Plan {
  readonly shape: Shape;
  readonly files: readonly string[];
  readonly cutting: Cutting;
  readonly rate: number | undefined;
  readonly deliveryTimeoutMs: number;
  readonly isQuiet: boolean;
  /** A person types the records. */
  readonly isTyped: boolean;
}

const checkPartition = async (client: Client, { topic, partition }: Shape): Promise<void> => {
  const count = await client.partitionCount(topic);
  if (partition === undefined || partition < count) return;
  throw new MillraceError(
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    `topic ${topic} has no partition ${partition}: it has ${count}`,
  );
};

/** Sends all input, or what comes before an interrupt. */
const sendAll = async (run: ProduceRun, plan: Plan, io: Io): Promise<void> => {
  const pace = pacer(plan.rate);
  for await (const piece of piecesOf(plan.files, plan.cutting, io)) {
    await pace();
    if (io.signal.aborted) return;
    const inputBytes = piece.length + (plan.cutting.wholeFile ? 0 : plan.cutting.delimiter.length);
    await run.send(recordOf(piece, plan.shape), piece.length, inputBytes);
  }
};

const produce = async (
  client: Client,
  plan: Plan,
  flags: Flags,
  io: Io,
  terminal: Terminal,
): Promise<void> => {
  await interruptible(io.signal, checkPartition(client, plan.shape));
  if (plan.isTyped && !plan.isQuiet) await terminal.line("one record a line; Ctrl-D ends");
  const outage = new Outage(io, terminal, plan.isQuiet);
  const producer = client.producer({
    onState: outage.onState,
    acks: String(flags["acks"]) as NonNullable<ProducerOptions["acks"]>,
    compression: String(flags["compression"]) as NonNullable<ProducerOptions["compression"]>,
    deliveryTimeoutMs: plan.deliveryTimeoutMs,
  });
  const progress = new Progress(() => performance.now(), await bytesOfInputs(plan.files));
  const run = new ProduceRun(producer, { terminal, progress }, flags["printOffsets"] === true);
  const said = (): string => (progress.records > 0 ? progress.text() : "");
  if (!plan.isQuiet) terminal.status(() => outage.status() || said());
  try {
    await interruptible(io.signal, sendAll(run, plan, io));
  } catch (thrown) {
    if (!(thrown instanceof Interrupted)) throw thrown;
    if (run.open > 0) {
      const waiting = `waiting for ${counted(run.open, "record")}, interrupt again to give up`;
      await terminal.line(`interrupted: ${waiting}`);
    }
    throw thrown;
  } finally {
    await producer.flush();
    await run.finish();
    terminal.close();
    if (!plan.isQuiet) await terminal.line(run.summary());
  }
  run.throwFailure();
};

export const produceCommand = (io: Io): Command =>
  clusterCommand(
    "produce",
    "Write one record per line of files or stdin",
    "echo hello | millrace produce logs --key greeting",
  )
    .argument("<TOPIC>")
    .argument("[FILE...]", "files to read; - or none is stdin")
    .option("-K, --key-separator <S>", "text between the key and the value of each record")
    .option("-k, --key <K>", "key of every record")
    .option("-H, --header <NAME=VALUE>", "a header of every record; may be repeated", collect)
    .option("-p, --partition <P>", "partition; default: by key, else spread per batch")
    .addOption(
      new Option("--acks <ACKS>", "what to wait for")
        .choices(["all", "leader", "none"])
        .default("all"),
    )
    .addOption(
      new Option("-z, --compression <CODEC>", "compression of batches")
        .choices(["none", "gzip", "zstd", "lz4"])
        .default("none"),
    )
    .option("-D, --delimiter <S>", "text that ends a record; \\n, \\t, \\0, \\xHH", "\\n")
    .option("--whole-file", "each file is one record")
    .option("--null-value <TOKEN>", "a record equal to it has a null value")
    .addOption(
      new Option(
        "-f, --format <FORMAT>",
        "lines, or json: objects as `consume --format json` prints them; topic, partition and " +
          "offset in them are not used",
      )
        .choices(["lines", "json"])
        .default("lines"),
    )
    .option("--rate <N/s>", "most records a second")
    .option("--delivery-timeout <SECONDS>", "longest time to the acknowledgement", "120")
    .option("-q, --quiet", "no progress and no summary")
    .option("--print-offsets", "print PARTITION OFFSET of each acknowledged record")
    .action(async (topic: string, files: string[], flags: Flags) => {
      const plan = {
        shape: shapeOf(topic, flags),
        files,
        cutting: cuttingOf(flags),
        rate: parseRate(flags["rate"]),
        deliveryTimeoutMs: deliveryTimeoutMsOf(flags),
        isQuiet: flags["quiet"] === true,
        isTyped: isTyped(io) && (files.length === 0 || files.includes("-")),
      };
      await checkFiles(files);
      const terminal = new Terminal(io, plan.isTyped);
      const work = (client: Client) => produce(client, plan, flags, io, terminal);
      await withClient(io, flags, work, "finishes");
    });

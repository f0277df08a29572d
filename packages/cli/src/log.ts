/** `millrace log …`: files, without a server. */
import { basename, dirname, resolve } from "node:path";
import type { DiskFile } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { Command } from "commander";
import { timeText } from "./format.ts";
import { ClosedPipe, type Io, interruptible, UsageError, write, writeIfOpen } from "./io.ts";

/** Loaded when needed: other commands start faster without them. */
const libraries = async () => {
  const [log, env, record] = await Promise.all([
    import("@millrace/log"),
    import("@millrace/env/node"),
    import("@millrace/record/node"),
  ]);
  return { ...log, nodeDisk: env.nodeDisk, nodeCompressor: record.nodeCompressor };
};

const fileError = (path: string, thrown: unknown): Error =>
  thrown instanceof MillraceError || thrown instanceof ClosedPipe
    ? thrown
    : new MillraceError(
        ErrorCode.DATA_DIRECTORY_UNUSABLE,
        `${path}: ${thrown instanceof Error ? thrown.message : String(thrown)}: check the path`,
        { cause: thrown },
      );

/**
 * The report goes to stdout; the outcome is the exit code, whether or not anybody reads the report.
 */
const verifyLogs = async (directory: string, io: Io): Promise<void> => {
  const { verifyDirectory, nodeDisk, nodeCompressor } = await libraries();
  const disk = nodeDisk(resolve(directory));
  const report = await verifyDirectory(disk, nodeCompressor).catch((thrown: unknown) => {
    throw fileError(directory, thrown);
  });
  const { partitions, segments, batches, records, bytes, tornBytes, clean } = report;
  await writeIfOpen(
    io.stdout,
    `${partitions} partitions, ${segments} segments, ${batches} batches, ${records} records, ` +
      `${bytes} bytes, stopped ${clean ? "cleanly" : "suddenly"}\n`,
  );
  if (tornBytes > 0) {
    await writeIfOpen(
      io.stdout,
      `${tornBytes} bytes at the ends were never acknowledged; the next start cuts them\n`,
    );
  }
  const [first] = report.damages;
  if (first === undefined) return;
  throw new MillraceError(
    ErrorCode.CORRUPT_MESSAGE,
    `${first.path} at byte ${first.position}: ${first.reason} (${report.damages.length} in all): ` +
      "restore from a replica or a backup",
  );
};

const verify = (io: Io): Command =>
  new Command("verify")
    .description(
      "Check every CRC, offset, epoch and index of a data directory; the server must be stopped",
    )
    .argument("<DIR>", "data directory")
    .addHelpText("after", "\nExample:\n  millrace log verify ./data")
    .action((directory: string) => interruptible(io.signal, verifyLogs(directory, io)));

const textOf = (bytes: Uint8Array | undefined): string =>
  bytes === undefined ? "null" : JSON.stringify(Buffer.from(bytes).toString());

const printBatches = async (
  path: string,
  file: DiskFile,
  withRecords: boolean,
  io: Io,
): Promise<void> => {
  const { dumpSegment, nodeCompressor } = await libraries();
  for await (const batch of dumpSegment(file, nodeCompressor, withRecords)) {
    if (!("header" in batch)) {
      throw new MillraceError(
        ErrorCode.CORRUPT_MESSAGE,
        `${path} at byte ${batch.position}: ${batch.reason}: the rest of the file is not listed`,
      );
    }
    const { header, info, position, bytes, lastOffset } = batch;
    await write(
      io.stdout,
      `@${position} offsets ${header.baseOffset}-${lastOffset} epoch ${header.leaderEpoch} ` +
        `records ${info.recordCount} bytes ${bytes} compression ${info.compression} ` +
        `appended ${timeText(header.appendTimeMs)}\n`,
    );
    for (const record of batch.records) {
      await write(
        io.stdout,
        `  ${header.baseOffset + record.offsetDelta} ${timeText(record.timestampMs)} ` +
          `${textOf(record.key)} ${textOf(record.value)}\n`,
      );
    }
  }
};

const dumpFile = async (path: string, withRecords: boolean, io: Io): Promise<void> => {
  const { nodeDisk } = await libraries();
  const full = resolve(path);
  const disk = nodeDisk(dirname(full));
  const name = basename(full);
  try {
    const file = await disk.open(name, "read");
    try {
      if ((await disk.fileSize(name)) === undefined) {
        throw new UsageError(`${path} is not a file: name a .log file`);
      }
      await printBatches(path, file, withRecords, io);
    } finally {
      await file.close();
    }
  } catch (thrown) {
    throw fileError(path, thrown);
  }
};

const dump = (io: Io): Command =>
  new Command("dump")
    .description("List the batches of a segment file")
    .argument("<FILE>", "a .log file")
    .option("--values", "list the records too")
    .addHelpText("after", "\nExample:\n  millrace log dump 00000000000000000000.log --values")
    .action((path: string, flags: { readonly values?: boolean }) =>
      interruptible(io.signal, dumpFile(path, flags.values === true, io)),
    );

export const logCommand = (io: Io): Command => {
  const group = new Command("log").description("Check and list log files, without a server");
  return group.addCommand(verify(io)).addCommand(dump(io));
};

/** `millrace log …`: files, without a server. */
import type { Stats } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import type { DiskFile } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { Command } from "commander";
import { timeText } from "./format.ts";
import {
  ClosedPipe,
  counted,
  type Io,
  interruptible,
  printIfRead,
  printResult,
  UsageError,
} from "./io.ts";
import { commandGroup } from "./shared.ts";

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

const kinds = {
  directory: { is: (found: Stats) => found.isDirectory(), use: "name the --data-dir of a server" },
  file: { is: (found: Stats) => found.isFile(), use: "name a .log file" },
} as const;

/** Throws UsageError for a path that is not there, or that names something else. */
const checkPath = async (path: string, kind: keyof typeof kinds): Promise<void> => {
  const found = await stat(path).catch((thrown: NodeJS.ErrnoException) => thrown);
  if (found instanceof Error) {
    if (found.code !== "ENOENT" && found.code !== "ENOTDIR") throw fileError(path, found);
    throw new UsageError(`${path}: there is no such ${kind}: check the path`);
  }
  const { is, use } = kinds[kind];
  if (!is(found)) throw new UsageError(`${path} is not a ${kind}: ${use}`);
};

/** Names in a data directory. One that lacks some of them is damaged, and no typo. */
const dataNames: ReadonlySet<string> = new Set(["meta", "journal", "partitions"]);

/** Whether a server runs on it. Older versions of Node have no SQLite, or warn of it: false. */
const isInUse = async (path: string): Promise<boolean> => {
  if (Number.parseInt(process.versions.node, 10) < 26) return false;
  const { isLocked } = await import("@millrace/server/data-directory");
  return isLocked(path);
};

const checkDirectory = async (path: string): Promise<void> => {
  await checkPath(path, "directory");
  const names = await readdir(path).catch((thrown: unknown) => {
    throw fileError(path, thrown);
  });
  if (names.some((name) => dataNames.has(name))) {
    if (!(await isInUse(path))) return;
    throw new MillraceError(
      ErrorCode.DATA_DIRECTORY_LOCKED,
      `${path} is used by a server, which writes in it meanwhile: stop it first, or use a copy`,
    );
  }
  throw new UsageError(`${path} is not a data directory: ${kinds.directory.use}`);
};

/**
 * The report goes to stdout; the outcome is the exit code, whether or not anybody reads the report.
 */
const verifyLogs = async (directory: string, io: Io): Promise<void> => {
  await checkDirectory(directory);
  const { verifyDirectory, nodeDisk, nodeCompressor } = await libraries();
  const disk = nodeDisk(resolve(directory));
  const report = await verifyDirectory(disk, nodeCompressor).catch((thrown: unknown) => {
    throw fileError(directory, thrown);
  });
  const { partitions, segments, batches, records, bytes, tornBytes, clean } = report;
  await printIfRead(
    io,
    `${counted(partitions, "partition")}, ${counted(segments, "segment")}, ` +
      `${counted(batches, "batch", "batches")}, ${counted(records, "record")}, ` +
      `${counted(bytes, "byte")}, stopped ${clean ? "cleanly" : "suddenly"}\n`,
  );
  if (tornBytes > 0) {
    await printIfRead(
      io,
      `${counted(tornBytes, "byte")} at the ends, never acknowledged; the next start cuts them\n`,
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
    await printResult(
      io,
      `@${position} offsets ${header.baseOffset}-${lastOffset} epoch ${header.leaderEpoch} ` +
        `records ${info.recordCount} bytes ${bytes} compression ${info.compression} ` +
        `appended ${timeText(header.appendTimeMs)}\n`,
    );
    for (const record of batch.records) {
      await printResult(
        io,
        `  ${header.baseOffset + record.offsetDelta} ${timeText(record.timestampMs)} ` +
          `${textOf(record.key)} ${textOf(record.value)}\n`,
      );
    }
  }
};

const dumpFile = async (path: string, withRecords: boolean, io: Io): Promise<void> => {
  await checkPath(path, "file");
  const { nodeDisk } = await libraries();
  const full = resolve(path);
  const disk = nodeDisk(dirname(full));
  const name = basename(full);
  try {
    const file = await disk.open(name, "read");
    try {
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
  const group = commandGroup(
    "log",
    "Check and list log files, without a server",
    "millrace log verify ./data",
  );
  return group.addCommand(verify(io)).addCommand(dump(io));
};

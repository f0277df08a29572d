/** `millrace log …`: files, without a server. */
import { basename, dirname, resolve } from "node:path";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { Command } from "commander";
import { type Io, write } from "./io.ts";

const verify = (io: Io): Command =>
  new Command("verify")
    .description(
      "Check every CRC, offset, epoch and index of a data directory; the server must be stopped",
    )
    .argument("<DIR>", "data directory")
    .addHelpText("after", "\nExample:\n  millrace log verify ./data")
    .action(async (directory: string) => {
      const [{ verifyDirectory }, { nodeDisk }, { nodeCompressor }] = await Promise.all([
        import("@millrace/log"),
        import("@millrace/env/node"),
        import("@millrace/record/node"),
      ]);
      const disk = nodeDisk(resolve(directory));
      const report = await verifyDirectory(disk, nodeCompressor).catch((thrown: unknown) => {
        throw fileError(directory, thrown);
      });
      const { partitions, segments, batches, records, bytes, tornBytes, clean } = report;
      await write(
        io.stdout,
        `${partitions} partitions, ${segments} segments, ${batches} batches, ${records} records, ${bytes} bytes` +
          `, stopped ${clean ? "cleanly" : "suddenly"}\n`,
      );
      if (tornBytes > 0) {
        await write(
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
    });

const fileError = (path: string, thrown: unknown): MillraceError =>
  thrown instanceof MillraceError
    ? thrown
    : new MillraceError(
        ErrorCode.DATA_DIRECTORY_UNUSABLE,
        `${path}: ${thrown instanceof Error ? thrown.message : String(thrown)}: check the path`,
      );

const text = (bytes: Uint8Array | undefined): string =>
  bytes === undefined ? "null" : JSON.stringify(Buffer.from(bytes).toString());

const dump = (io: Io): Command =>
  new Command("dump")
    .description("List the batches of a segment file")
    .argument("<FILE>", "a .log file")
    .option("--values", "list the records too")
    .addHelpText("after", "\nExample:\n  millrace log dump 00000000000000000000.log --values")
    .action(async (path: string, flags: { readonly values?: boolean }) => {
      const [{ dumpSegment }, { nodeDisk }, { nodeCompressor }] = await Promise.all([
        import("@millrace/log"),
        import("@millrace/env/node"),
        import("@millrace/record/node"),
      ]);
      const full = resolve(path);
      const disk = nodeDisk(dirname(full));
      const file = await disk.open(basename(full), "read").catch((thrown: unknown) => {
        throw fileError(path, thrown);
      });
      try {
        for await (const batch of dumpSegment(file, nodeCompressor, flags.values === true)) {
          if (!("header" in batch)) {
            throw new MillraceError(
              ErrorCode.CORRUPT_MESSAGE,
              `${path} at byte ${batch.position}: ${batch.reason}: what follows is not listed`,
            );
          }
          const { header, info, position, bytes, lastOffset } = batch;
          await write(
            io.stdout,
            `@${position} offsets ${header.baseOffset}-${lastOffset} epoch ${header.leaderEpoch} ` +
              `records ${info.recordCount} bytes ${bytes} compression ${info.compression} ` +
              `appended ${new Date(header.appendTimeMs).toISOString()}\n`,
          );
          for (const record of batch.records) {
            await write(
              io.stdout,
              `  ${header.baseOffset + record.offsetDelta} ${new Date(record.timestampMs).toISOString()} ` +
                `${text(record.key)} ${text(record.value)}\n`,
            );
          }
        }
      } finally {
        await file.close();
      }
    });

export const logCommand = (io: Io): Command => {
  const group = new Command("log").description("Check and list log files, without a server");
  return group.addCommand(verify(io)).addCommand(dump(io));
};

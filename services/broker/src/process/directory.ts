/** What a data directory says before it is opened. */
import { fromBinary } from "@bufbuild/protobuf";
import type { Disk } from "@millrace/env";
import { DataDirectorySchema } from "@millrace/proto/storage";
import { crcOf } from "@millrace/record";

/** `magic(4) crc32c(4, little-endian, of the message) message`. */
const magic = "MRDD";
const headBytes = 8;

const contentOf = async (disk: Disk, path: string): Promise<Buffer> => {
  const file = await disk.open(path, "read");
  try {
    const content = Buffer.alloc(await file.size());
    const bytes = await file.read(content, 0, content.length, 0);
    return content.subarray(0, bytes);
  } finally {
    await file.close();
  }
};

/**
 * The cluster that the data directory belongs to. Undefined for one that is new, and for one that
 * cannot be read: opening it tells what is wrong.
 */
export const clusterIdOnDisk = async (disk: Disk): Promise<string | undefined> => {
  try {
    const content = await contentOf(disk, "meta");
    const message = content.subarray(headBytes);
    const isWhole =
      content.toString("latin1", 0, magic.length) === magic &&
      content.readUInt32LE(magic.length) === crcOf(message);
    if (!isWhole) return undefined;
    return fromBinary(DataDirectorySchema, message).clusterId || undefined;
  } catch {
    return undefined;
  }
};

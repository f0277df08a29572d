/**
 * The file that tells a process without other data which cluster it belongs to. A controller keeps
 * it: an etcd that was wiped must not look like one in which its cluster is still to be made.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ErrorCode, MillraceError } from "@millrace/errors";

const pathIn = (directory: string): string => join(directory, "cluster-id");

const rememberedCluster = (directory: string): string | undefined => {
  const path = pathIn(directory);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT") return undefined;
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw unusable(`${path} cannot be read: ${reason}: mend it`);
  }
  const id = text.trimEnd();
  if (/^[A-Za-z0-9_-]{1,64}$/.test(id)) return id;
  throw unusable(`${path} holds no id of a cluster: remove it, and set --cluster-id`);
};

const unusable = (what: string): MillraceError =>
  new MillraceError(ErrorCode.DATA_DIRECTORY_UNUSABLE, what);

/**
 * The cluster that the setting names, or else the directory; undefined where neither does. Throws
 * INVALID_CONFIG when they name two, DATA_DIRECTORY_UNUSABLE for a file that holds no id.
 */
export const wantedCluster = (set: string, directory: string | undefined): string | undefined => {
  const known = directory === undefined ? undefined : rememberedCluster(directory);
  if (set === "" || known === undefined || set === known) return set || known;
  throw new MillraceError(
    ErrorCode.INVALID_CONFIG,
    `--cluster-id is ${set}, and ${directory} belongs to cluster ${known}: ` +
      "correct the setting, or use an empty directory",
  );
};

/**
 * Notes the cluster in a directory, if there is one. Durable when it returns. Throws
 * DATA_DIRECTORY_UNUSABLE.
 */
export const rememberCluster = (directory: string | undefined, clusterId: string): void => {
  if (directory === undefined || rememberedCluster(directory) !== undefined) return;
  const path = pathIn(directory);
  try {
    replaceFile(path, `${clusterId}\n`);
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw unusable(`${path} cannot be written: ${reason}: free space, or mount it writable`);
  }
};

const replaceFile = (path: string, content: string): void => {
  const temporary = `${path}.tmp`;
  const file = openSync(temporary, "w", 0o640);
  try {
    writeFileSync(file, content);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
  const directory = openSync(dirname(path), "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
};

/** Budgets of file descriptors, taken from the limit that the process has (RLIMIT_NOFILE). */
import { readFileSync } from "node:fs";
import { ErrorCode, MillraceError } from "@millrace/errors";

/**
 * Descriptors that are neither connections of clients nor kept segment files: standard streams, the
 * runtime, the metadata store, the journal's files, listeners, probes and scrapes, and files and
 * directories that are open for the length of one operation.
 */
const reservedFiles = 72;
/** Below this the server cannot work at all. */
const filesMin = 112;

/** Open files that the process may have at once; undefined where the system does not say. */
export const openFilesLimit = (): number | undefined => {
  try {
    const line = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
    if (line?.[1] !== undefined) return Number(line[1]);
  } catch {
    // Not Linux.
  }
  const report: unknown = process.report?.getReport();
  const limits =
    typeof report === "object" && report !== null ? Reflect.get(report, "userLimits") : undefined;
  const files = limits?.open_files?.soft;
  return typeof files === "number" ? files : undefined;
};

/** How many files and connections a server may keep. */
export interface FileBudget {
  readonly openFilesMax: number;
  readonly connectionsMax: number;
  /** True: less than the settings ask for. */
  readonly reduced: boolean;
}

/**
 * Fits the settings into the limit: what is left beside the reserve is shared, half for connections and
 * half for segment files; what one does not need is the other's. Throws INVALID_CONFIG below
 * the least limit that a server can live with.
 */
export const fileBudget = (
  limit: number | undefined,
  wanted: { readonly openFilesMax: number; readonly connectionsMax: number },
): FileBudget => {
  if (limit === undefined) return { ...wanted, reduced: false };
  if (limit < filesMin) {
    throw new MillraceError(
      ErrorCode.INVALID_CONFIG,
      `the process may open ${limit} files, at least ${filesMin} are needed: raise the limit ` +
        "(ulimit -n, LimitNOFILE= of systemd, --ulimit nofile of Docker)",
    );
  }
  const free = limit - reservedFiles;
  const half = Math.floor(free / 2);
  const connectionsMax = Math.min(
    wanted.connectionsMax,
    Math.max(half, free - wanted.openFilesMax),
  );
  const openFilesMax = Math.min(wanted.openFilesMax, free - connectionsMax);
  const reduced = connectionsMax < wanted.connectionsMax || openFilesMax < wanted.openFilesMax;
  return { openFilesMax, connectionsMax, reduced };
};

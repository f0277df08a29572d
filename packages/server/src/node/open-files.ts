/** Budgets of file descriptors, taken from the limit that the process has (RLIMIT_NOFILE). */
import { readFileSync } from "node:fs";
import type { Logger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";

/**
 * Descriptors for everything else: standard streams, the runtime, the metadata store, journal
 * files, listeners, probes and scrapes, and files that are open for one operation.
 */
const reservedFiles = 72;
/** Below this the server cannot work at all. */
const filesMin = 112;

/** How many files the process may open; undefined where the system does not say. */
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
  /** True if the settings ask for more. */
  readonly reduced: boolean;
}

/**
 * Fits the settings into the limit. What remains beside the reserve is split in halves between
 * connections and segment files; a half that needs less leaves the rest to the other. Throws
 * INVALID_CONFIG if the limit is too low for a server.
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

/** Settings that need files. */
interface FileSettings {
  readonly "connections-max": number;
  /** Absent where no segments are kept. */
  readonly "open-files-max"?: number;
}

/** The settings, reduced to what the process may open; a reduction is logged. */
export const withinOpenFiles = <C extends FileSettings>(config: C, logger: Logger): C => {
  const limit = openFilesLimit();
  const { "connections-max": wanted, "open-files-max": files } = config;
  const budget = fileBudget(limit, { openFilesMax: files ?? 0, connectionsMax: wanted });
  const { openFilesMax, connectionsMax, reduced } = budget;
  if (!reduced) return config;
  logger.warn(
    { limit, open_files_max: openFilesMax, connections_max: connectionsMax },
    "the process may open fewer files than the settings ask for: raise the limit (ulimit -n)",
  );
  const kept = files === undefined ? {} : { "open-files-max": openFilesMax };
  return { ...config, ...kept, "connections-max": connectionsMax };
};

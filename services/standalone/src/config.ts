/** Settings of the standalone server: one schema for flags, environment, file, help and reference. */
import type { Schema, Values } from "@millrace/config";

const mib = 1024 * 1024;
const address = /^(\[[0-9a-fA-F:.]+\]|[^\s:]+):\d{1,5}$/;
const addressHint = "HOST:PORT, port 0 picks a free one";

const bytes = (min: number, max: number, value: number, description: string) =>
  ({
    type: "integer",
    unit: "bytes",
    min,
    max,
    default: value,
    dynamic: false,
    description,
  }) as const;

const endpoint = (value: string, description: string) =>
  ({
    type: "text",
    pattern: address,
    hint: addressHint,
    default: value,
    dynamic: false,
    description,
  }) as const;

export const standaloneSchema = {
  "data-dir": {
    type: "text",
    pattern: /^.+$/s,
    hint: "a path",
    default: "./data",
    dynamic: false,
    description: "Directory of everything that is stored. Made when it is missing.",
  },
  listen: endpoint("127.0.0.1:7400", "gRPC for clients."),
  "internal-listen": endpoint("127.0.0.1:7401", "gRPC between the cluster's own processes."),
  "health-listen": endpoint("127.0.0.1:7402", "gRPC health checks, for probes."),
  "http-listen": endpoint("127.0.0.1:7480", "HTTP: metrics, liveness, readiness, configuration."),
  advertise: {
    type: "text",
    pattern: /^$|^(\[[0-9a-fA-F:.]+\]|[^\s:]+):\d{1,5}$/,
    hint: "HOST:PORT, or empty for the address that is listened on",
    default: "",
    dynamic: false,
    description: "Address that clients are told to connect to.",
  },
  "log-level": {
    type: "choice",
    choices: ["debug", "info", "warn", "error"],
    default: "info",
    dynamic: false,
    description: "Least severe messages that are logged.",
  },
  "log-format": {
    type: "choice",
    choices: ["auto", "json", "pretty"],
    default: "auto",
    dynamic: false,
    description: "json for machines, pretty for people; auto is pretty on a terminal.",
  },
  "journal-file-bytes": bytes(mib, 1024 * mib, 64 * mib, "Size of one file of the commit journal."),
  "journal-bytes-max": bytes(
    2 * mib,
    16 * 1024 * mib,
    512 * mib,
    "Bound of the commit journal; when it is full, producers wait.",
  ),
  "tail-cache-bytes-max": bytes(0, 4096 * mib, 32 * mib, "Newest batches kept in memory."),
  "index-cache-bytes-max": bytes(0, 4096 * mib, 16 * mib, "Index entries kept in memory."),
  "pending-bytes-max": bytes(
    mib,
    4096 * mib,
    64 * mib,
    "Bytes accepted and not yet on the disk; more is refused.",
  ),
  "disk-reserve-bytes": bytes(
    0,
    1024 * 1024 * mib,
    256 * mib,
    "Free space below which writes are refused with DISK_FULL. Reads go on.",
  ),
  "open-files-max": {
    type: "integer",
    unit: "count",
    min: 16,
    max: 1_000_000,
    default: 2048,
    dynamic: false,
    description: "Segment files kept open.",
  },
  "checkpoint-interval": {
    type: "integer",
    unit: "milliseconds",
    min: 100,
    max: 3_600_000,
    default: 60_000,
    dynamic: false,
    description: "How often recovery points are written.",
  },
  "retention-check-interval": {
    type: "integer",
    unit: "milliseconds",
    min: 100,
    max: 86_400_000,
    default: 300_000,
    dynamic: false,
    description: "How often retention looks for old segments.",
  },
  "shutdown-grace": {
    type: "integer",
    unit: "milliseconds",
    min: 0,
    max: 600_000,
    default: 5000,
    dynamic: false,
    description: "How long open streams may finish when the server stops.",
  },
} as const satisfies Schema;

export type StandaloneConfig = Values<typeof standaloneSchema>;

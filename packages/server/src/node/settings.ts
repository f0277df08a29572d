/** Settings that servers share: fragments of their schemas. */
import type { Schema, Values } from "@millrace/config";
import { type AdmissionLimits, admissionDefaults as defaults } from "@millrace/rpc/grpc";

export const mib = 1024 * 1024;
const host = String.raw`(?:\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+)`;
const port = String.raw`(?:6553[0-5]|655[0-2]\d|65[0-4]\d\d|6[0-4]\d{3}|[1-5]\d{4}|\d{1,4})`;
export const address = new RegExp(`^${host}:${port}$`);
const addressHint = "HOST:PORT, port 0 picks a free one";

export const bytes = (min: number, max: number, value: number, description: string) =>
  ({
    type: "integer",
    unit: "bytes",
    min,
    max,
    default: value,
    dynamic: false,
    description,
  }) as const;

export const count = (min: number, max: number, value: number, description: string) =>
  ({
    type: "integer",
    unit: "count",
    min,
    max,
    default: value,
    dynamic: false,
    description,
  }) as const;

export const duration = (min: number, max: number, value: number, description: string) =>
  ({
    type: "integer",
    unit: "milliseconds",
    min,
    max,
    default: value,
    dynamic: false,
    description,
  }) as const;

export const endpoint = (value: string, description: string) =>
  ({
    type: "text",
    pattern: address,
    hint: addressHint,
    default: value,
    dynamic: false,
    description,
  }) as const;

export const text = (pattern: RegExp, hint: string, value: string, description: string) =>
  ({ type: "text", pattern, hint, default: value, dynamic: false, description }) as const;

/** A whole number that has to be set: what a process is in its cluster. */
export const identity = (description: string) =>
  ({
    type: "integer",
    unit: "count",
    min: 0,
    max: 2_147_483_647,
    dynamic: false,
    description,
  }) as const;

/** The directory of a process that keeps data. */
export const dataDirectorySettings = {
  "data-dir": text(
    /^.+$/s,
    "a path",
    "./data",
    "Directory of everything that is stored. Made when it is missing.",
  ),
} as const satisfies Schema;

/** Where the server listens. */
export const listenerSettings = {
  listen: endpoint("127.0.0.1:7400", "gRPC for clients."),
  "internal-listen": endpoint("127.0.0.1:7401", "gRPC between the cluster's own processes."),
  "health-listen": endpoint("127.0.0.1:7402", "gRPC health checks, for probes."),
  "http-listen": endpoint("127.0.0.1:7480", "HTTP: metrics, liveness, readiness, configuration."),
} as const satisfies Schema;

const toldAddress = new RegExp(`^$|${address.source}`);

/** What clients are told. */
export const advertiseSettings = {
  advertise: text(
    toldAddress,
    "HOST:PORT that clients reach, or empty for the address that is listened on",
    "",
    "Address that clients are told to connect to. Set it with a listener on all interfaces: " +
      "otherwise clients are told an address of this machine.",
  ),
} as const satisfies Schema;

/** What the other processes of a cluster are told. */
export const internalAdvertiseSettings = {
  "internal-advertise": text(
    toldAddress,
    "HOST:PORT that processes of the cluster reach, or empty for the address that is listened on",
    "",
    "Address that the cluster's own processes are told to connect to, as --advertise for clients.",
  ),
} as const satisfies Schema;

/** What the server logs. */
export const loggingSettings = {
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
} as const satisfies Schema;

/** How the server stops, and how much clients may take of it. */
export const admissionSettings = {
  "shutdown-grace": duration(
    0,
    600_000,
    5000,
    "How long open streams may finish when the server stops.",
  ),
  "connections-max": count(1, 1_000_000, defaults.connectionsMax, "Open client connections."),
  "connections-per-address-max": count(
    1,
    1_000_000,
    defaults.connectionsPerAddressMax,
    "Open connections of one address (one /64 of IPv6), and the burst of new ones.",
  ),
  "connection-rate-max": count(
    1,
    1_000_000,
    defaults.connectionRateMax,
    "New connections of one address per second, beyond the burst.",
  ),
  "connection-idle-timeout": duration(
    1000,
    86_400_000,
    defaults.connectionIdleMs,
    "A connection without any call is closed after this time.",
  ),
  "preface-timeout": duration(
    100,
    60_000,
    defaults.prefaceTimeoutMs,
    "A connection that is not HTTP/2 by then is closed.",
  ),
  "streams-max": count(1, 1_000_000, defaults.streamsMax, "Open calls of all clients."),
  "streams-per-address-max": count(
    1,
    1_000_000,
    defaults.streamsPerAddressMax,
    "Open calls of one address.",
  ),
  "streams-per-connection-max": count(
    1,
    100_000,
    defaults.streamsPerConnectionMax,
    "Open calls of one connection; clients are told.",
  ),
  "buffered-bytes-max": bytes(
    mib,
    16 * 1024 * mib,
    defaults.bufferedBytesMax,
    "Bytes of all clients received and not yet read, or written and not yet sent.",
  ),
  "buffered-bytes-per-address-max": bytes(
    mib,
    16 * 1024 * mib,
    defaults.bufferedBytesPerAddressMax,
    "The same, of one address.",
  ),
  "buffered-bytes-per-connection-max": bytes(
    mib,
    16 * 1024 * mib,
    defaults.bufferedBytesPerConnectionMax,
    "The same, of one connection.",
  ),
  "request-timeout": duration(
    1000,
    600_000,
    defaults.requestTimeoutMs,
    "Silence before or within a message ends its call after this.",
  ),
  "slow-reader-timeout": duration(
    1000,
    3_600_000,
    defaults.slowReaderTimeoutMs,
    "A call whose client takes no message in this time is ended.",
  ),
  "event-loop-delay-max": duration(
    10,
    60_000,
    defaults.eventLoopDelayMaxMs,
    "Mean delay of the event loop over a second beyond which new connections and calls are refused.",
  ),
} as const satisfies Schema;

export type AdmissionConfig = Values<typeof admissionSettings>;

/** Admission limits of the client listener. */
export const admissionOf = (config: AdmissionConfig): Partial<AdmissionLimits> => ({
  connectionsMax: config["connections-max"],
  connectionsPerAddressMax: config["connections-per-address-max"],
  connectionRateMax: config["connection-rate-max"],
  connectionIdleMs: config["connection-idle-timeout"],
  prefaceTimeoutMs: config["preface-timeout"],
  streamsMax: config["streams-max"],
  streamsPerAddressMax: config["streams-per-address-max"],
  streamsPerConnectionMax: config["streams-per-connection-max"],
  bufferedBytesMax: config["buffered-bytes-max"],
  bufferedBytesPerAddressMax: config["buffered-bytes-per-address-max"],
  bufferedBytesPerConnectionMax: config["buffered-bytes-per-connection-max"],
  requestTimeoutMs: config["request-timeout"],
  slowReaderTimeoutMs: config["slow-reader-timeout"],
  eventLoopDelayMaxMs: config["event-loop-delay-max"],
});

/**
 * Admission limits of the internal listener, which are its own: what clients do to this process
 * never keeps replication from it.
 */
export const internalLimits = {
  eventLoopDelayMaxMs: Number.POSITIVE_INFINITY,
} as const satisfies Partial<AdmissionLimits>;

/** Admission limits of the health listener: few clients, small messages. */
export const probeLimits = {
  connectionsMax: 64,
  connectionsPerAddressMax: 64,
  streamsMax: 256,
  streamsPerAddressMax: 256,
  streamsPerConnectionMax: 64,
  bufferedBytesMax: 8 * 1024 * 1024,
  bufferedBytesPerAddressMax: 8 * 1024 * 1024,
  bufferedBytesPerConnectionMax: 1024 * 1024,
  messageBytesMax: 64 * 1024,
  controlMessageBytesMax: 64 * 1024,
  eventLoopDelayMaxMs: Number.POSITIVE_INFINITY,
} as const satisfies Partial<AdmissionLimits>;

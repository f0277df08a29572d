/** Admission limits. Each has a default, a setting of the server, and a count of refusals. */

const mib = 1024 * 1024;

/** Bounds of one server, or of several that share an `Admission`. */
export interface AdmissionLimits {
  /** Open connections. More are closed at once. */
  readonly connectionsMax: number;
  /** Open connections of one address (of one /64 for IPv6), and the burst of new ones. */
  readonly connectionsPerAddressMax: number;
  /** New connections of one address per second, beyond the burst. */
  readonly connectionRateMax: number;
  /** Time for the HTTP/2 preface and SETTINGS of a connection. */
  readonly prefaceTimeoutMs: number;
  /** Time without any stream after which a connection is closed, with GOAWAY. */
  readonly connectionIdleMs: number;
  readonly streamsMax: number;
  readonly streamsPerAddressMax: number;
  /** Told to clients as MAX_CONCURRENT_STREAMS. */
  readonly streamsPerConnectionMax: number;
  /** Bytes of all clients together, received and not yet read, or written and not yet sent. */
  readonly bufferedBytesMax: number;
  readonly bufferedBytesPerAddressMax: number;
  readonly bufferedBytesPerConnectionMax: number;
  /** Full lengths of the incomplete messages of one connection, bytes. */
  readonly begunBytesPerConnectionMax: number;
  /** Request headers, bytes of names and values. */
  readonly headerBytesMax: number;
  /** Largest message of methods that carry records. */
  readonly messageBytesMax: number;
  /** Largest message of every other method. */
  readonly controlMessageBytesMax: number;
  /** Time for the first message of a call; `requestTimeoutMs` where that is less. */
  readonly firstMessageTimeoutMs: number;
  /** Longest silence within a message. */
  readonly requestTimeoutMs: number;
  /** Time in which a peer must take at least one queued message. */
  readonly slowReaderTimeoutMs: number;
  /** PING and SETTINGS frames of one connection per second. */
  readonly controlFrameRateMax: number;
  /** Bytes per second of one connection that carry no message: floods of frames of any kind. */
  readonly overheadBytesRateMax: number;
  /**
   * Mean delay of the event loop over a second beyond which new connections and calls are refused.
   */
  readonly eventLoopDelayMaxMs: number;
}

export const admissionDefaults: AdmissionLimits = {
  connectionsMax: 4096,
  connectionsPerAddressMax: 1024,
  connectionRateMax: 100,
  prefaceTimeoutMs: 5_000,
  connectionIdleMs: 600_000,
  streamsMax: 16_384,
  streamsPerAddressMax: 8192,
  streamsPerConnectionMax: 100,
  bufferedBytesMax: 256 * mib,
  bufferedBytesPerAddressMax: 192 * mib,
  bufferedBytesPerConnectionMax: 48 * mib,
  begunBytesPerConnectionMax: 64 * mib,
  headerBytesMax: 16 * 1024,
  messageBytesMax: 16 * mib,
  controlMessageBytesMax: mib,
  firstMessageTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  slowReaderTimeoutMs: 30_000,
  controlFrameRateMax: 1000,
  overheadBytesRateMax: 2 * mib,
  eventLoopDelayMaxMs: 250,
};

/** Limits of every connection; none is a setting. */
export const transportLimits = {
  /**
   * Headers, settings and frames that nghttp2 may hold for one connection; data is counted by the
   * admission.
   */
  sessionMemoryMib: 64,
  /** Largest message that the server sends. */
  sentMessageBytesMax: 64 * mib,
  /** Silence after which a connection gets a PING. */
  keepaliveIntervalMs: 30_000,
  /** Time for the answer to that PING before the connection is closed. */
  keepaliveTimeoutMs: 10_000,
} as const;

/** Names of limits: the label `limit` of the metric of refusals. */
export const limitNames = [
  "connections",
  "connections_per_address",
  "connection_rate",
  "preface",
  "protocol",
  "connection_idle",
  "streams",
  "streams_per_address",
  "streams_per_connection",
  "buffered_bytes",
  "buffered_bytes_per_address",
  "buffered_bytes_per_connection",
  "begun_bytes_per_connection",
  "headers",
  "encoding",
  "framing",
  "message_bytes",
  "request_timeout",
  "slow_reader",
  "control_frames",
  "overhead_bytes",
  "event_loop_delay",
] as const;

export type LimitName = (typeof limitNames)[number];

/** Called synchronously; must not throw. */
export interface AdmissionObserver {
  onRefused?(limit: LimitName): void;
}

/** What is in use now. */
export interface AdmissionGauges {
  readonly connections: number;
  readonly streams: number;
  readonly bufferedBytes: number;
  readonly eventLoopDelayMs: number;
  /** True while stream windows are small because half of the byte budget is in use. */
  readonly underPressure: boolean;
  /** The limits in force. */
  readonly limits: AdmissionLimits;
}

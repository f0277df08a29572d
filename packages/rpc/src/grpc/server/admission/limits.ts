/** What a server admits. Each limit has a default, a setting of the server, and a count of what it refused. */

const mib = 1024 * 1024;

/** Bounds of one server, or of several that share an `Admission`. */
export interface AdmissionLimits {
  /** Open connections. More are closed at once. */
  readonly connectionsMax: number;
  /** Open connections of one address (of one /64 for IPv6), and the burst of new ones. */
  readonly connectionsPerAddressMax: number;
  /** New connections of one address per second, beyond the burst. */
  readonly connectionRateMax: number;
  /** A connection that has not sent its HTTP/2 preface and settings by then is closed. */
  readonly prefaceTimeoutMs: number;
  /** A connection without any stream for so long is closed, with GOAWAY. */
  readonly connectionIdleMs: number;
  readonly streamsMax: number;
  readonly streamsPerAddressMax: number;
  /** Told to clients as MAX_CONCURRENT_STREAMS. */
  readonly streamsPerConnectionMax: number;
  /** Bytes received and not yet read, or written and not yet sent: of all clients together. */
  readonly bufferedBytesMax: number;
  readonly bufferedBytesPerAddressMax: number;
  readonly bufferedBytesPerConnectionMax: number;
  /** Messages of one connection that have begun and are not complete, in full length. */
  readonly begunBytesPerConnectionMax: number;
  /** Request headers, bytes of names and values. */
  readonly headerBytesMax: number;
  /** Largest message of methods that carry records. */
  readonly messageBytesMax: number;
  /** Largest message of every other method. */
  readonly controlMessageBytesMax: number;
  /** A call that sends nothing at all ends after this, or after `requestTimeoutMs` where that is less. */
  readonly firstMessageTimeoutMs: number;
  /** Silence in the middle of a message ends the call after this. */
  readonly requestTimeoutMs: number;
  /** A call whose peer takes not one queued message in this time is ended. */
  readonly slowReaderTimeoutMs: number;
  /** PING and SETTINGS frames of one connection per second. */
  readonly controlFrameRateMax: number;
  /** Bytes of one connection per second that carry no message: floods of frames of any kind. */
  readonly overheadBytesRateMax: number;
  /** Mean delay of the event loop over a second beyond which new connections and calls are refused. */
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

/** Of every connection, whatever the settings. */
export const transportLimits = {
  /** Headers, settings and frames that nghttp2 may hold for one connection; data is counted by the admission. */
  sessionMemoryMib: 64,
  /** Largest message that the server sends. */
  sentMessageBytesMax: 64 * mib,
  /** A connection that has been silent for so long gets a PING. */
  keepaliveIntervalMs: 30_000,
  /** It is closed when it does not answer in this time. */
  keepaliveTimeoutMs: 10_000,
} as const;

/** What was refused or cut, as the label `limit` of the metric names it. */
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

/** Told synchronously; must not throw. */
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
  /** What bounds it. */
  readonly limits: AdmissionLimits;
}

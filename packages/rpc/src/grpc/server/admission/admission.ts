/**
 * What a server lets in and what it ends: counts and bytes per connection, per address and in all.
 * Decisions only; the sockets behind the handles belong to `connection-listener.ts`. One
 * `Admission` may serve several listeners that share a budget.
 */
import { ErrorCode, MillraceError, sizeText } from "@millrace/errors";
import {
  connectionWindowBytes,
  firstConnectionWindowBytes,
  streamWindowBytes,
} from "../../windows.ts";
import {
  AdmittedStream,
  type CallShape,
  type StreamHandle,
  type StreamOwner,
} from "./admitted-stream.ts";
import { ByteBudget } from "./byte-budget.ts";
import type { AdmissionGauges, AdmissionLimits, AdmissionObserver, LimitName } from "./limits.ts";
import { admissionDefaults } from "./limits.ts";
import { RateCounter } from "./rate-counter.ts";

/** Window of a stream while half of the byte budget is in use. */
export const pressedWindowBytes = 64 * 1024;
/** Header bytes per call that do not count as overhead. */
const callOverheadBytes = 1024;
/** Bytes sent per byte of window updates that does not count as overhead. */
const sentPerOverheadByte = 256;
/** Calls beyond the stream limit before the connection is closed. */
export const overrunsMax = 64;
const overheadPeriodMs = 5_000;
/**
 * Calls per second that a connection may reset before they began; more, and it is closed. Not fewer
 * than a peer may have open: all of them reach their deadlines together when the server stalls.
 */
export const abandonedMax = admissionDefaults.streamsPerConnectionMax;
const abandonedPeriodMs = 1_000;
/** Byte-limit evictions per overhead period before the connection is closed. */
export const evictionsMax = 16;

export interface ConnectionHandle {
  /** Ends the connection: politely (GOAWAY, streams finish), or at once. */
  close(politely: boolean): void;
  bytesRead(): number;
  bytesWritten(): number;
  setStreamWindow(bytes: number): void;
  setConnectionWindow(bytes: number): void;
}

class Address {
  readonly key: string;
  readonly budget: ByteBudget;
  connections = 0;
  streams = 0;
  tokens: number;
  filledMs: number;

  constructor(key: string, budget: ByteBudget, tokens: number, nowMs: number) {
    this.key = key;
    this.budget = budget;
    this.tokens = tokens;
    this.filledMs = nowMs;
  }
}

const evictionLimits = new Set<LimitName>([
  "buffered_bytes_per_connection",
  "begun_bytes_per_connection",
]);

/** One connection. */
export class AdmittedConnection implements StreamOwner {
  readonly admission: Admission;
  readonly budget: ByteBudget;
  readonly address: Address;
  readonly handle: ConnectionHandle;
  readonly streams = new Set<AdmittedStream>();
  /** Received bytes of messages. */
  #payloadBytes = 0;
  #begunBytes = 0;
  #calls = 0;
  /** Calls beyond what the connection may have open. */
  #overruns = 0;
  #settled = false;
  #over = false;
  #windowBytes = firstConnectionWindowBytes;
  /** Bytes that handlers took, counted until the window has its full size. */
  #takenBytes = 0;
  #idleSinceMs: number;
  readonly #controlFrames: RateCounter;
  readonly #abandoned: RateCounter;
  readonly #evictions: RateCounter;
  #measured = { atMs: 0, overhead: 0 };

  constructor(admission: Admission, address: Address, handle: ConnectionHandle) {
    this.admission = admission;
    this.address = address;
    this.handle = handle;
    const { limits, nowMs } = admission;
    this.budget = new ByteBudget(
      "buffered_bytes_per_connection",
      limits.bufferedBytesPerConnectionMax,
      address.budget,
    );
    this.#idleSinceMs = nowMs;
    const framesMax = (limits.controlFrameRateMax * overheadPeriodMs) / 1000;
    this.#controlFrames = new RateCounter(framesMax, overheadPeriodMs, nowMs);
    this.#abandoned = new RateCounter(abandonedMax, abandonedPeriodMs, nowMs);
    this.#evictions = new RateCounter(evictionsMax, overheadPeriodMs, nowMs);
    this.#measured.atMs = nowMs;
  }

  /** The preface and the first SETTINGS frame have arrived. */
  settled(): void {
    this.#settled = true;
    this.#idleSinceMs = this.admission.nowMs;
  }

  /** A handler took messages of this size: a peer that sends such gets a larger window. */
  took(bytes: number): void {
    if (this.#over || this.#windowBytes >= connectionWindowBytes) return;
    this.#takenBytes += bytes;
    if (this.#takenBytes < this.#windowBytes) return;
    while (this.#windowBytes <= this.#takenBytes) this.#windowBytes *= 2;
    this.#windowBytes = Math.min(connectionWindowBytes, this.#windowBytes);
    this.handle.setConnectionWindow(this.#windowBytes);
  }

  /** A PING or SETTINGS frame came. */
  controlFrame(): void {
    if (this.#controlFrames.add(this.admission.nowMs)) this.#close("control_frames", false);
  }

  /** The peer reset a call before it began. */
  abandoned(): void {
    if (this.#abandoned.add(this.admission.nowMs)) this.#close("protocol", false);
  }

  get nowMs(): number {
    return this.admission.nowMs;
  }

  get limits(): AdmissionLimits {
    return this.admission.limits;
  }

  /** Full lengths of the messages that have begun and are not complete. */
  get begunBytes(): number {
    return this.#begunBytes;
  }

  receivedPayload(bytes: number): void {
    this.#payloadBytes += bytes;
  }

  addBegun(bytes: number): number {
    this.#begunBytes += bytes;
    return this.#begunBytes;
  }

  buffer(bytes: number): void {
    this.admission.buffered(this.budget.add(bytes));
  }

  release(bytes: number): void {
    this.budget.remove(bytes);
  }

  /** A peer that buffers too much again and again loses the connection. */
  terminated(limit: LimitName): void {
    this.admission.refused(limit);
    if (!evictionLimits.has(limit)) return;
    if (this.#evictions.add(this.nowMs)) this.#close(limit, false);
  }

  /** Admits a call, or returns why not. */
  open(path: string, shape: CallShape, handle: StreamHandle): AdmittedStream | MillraceError {
    this.#calls += 1;
    const error = this.admission.whyNoStream(this);
    if (error !== undefined) {
      if (this.streams.size >= this.admission.limits.streamsPerConnectionMax) this.#overrun();
      return error;
    }
    const stream = new AdmittedStream(this, path, shape, handle);
    this.streams.add(stream);
    this.address.streams += 1;
    this.admission.streams += 1;
    return stream;
  }

  /**
   * Clients that respect MAX_CONCURRENT_STREAMS wait; a few calls may be under way before they have
   * read it.
   */
  #overrun(): void {
    this.#overruns += 1;
    if (this.#overruns > overrunsMax) this.#close("streams_per_connection", false);
  }

  forget(stream: AdmittedStream): void {
    if (!this.streams.delete(stream)) return;
    this.address.streams -= 1;
    this.admission.streams -= 1;
    if (this.streams.size === 0) this.#idleSinceMs = this.admission.nowMs;
  }

  /** The connection is gone. */
  closed(): void {
    this.#over = true;
    for (const stream of [...this.streams]) stream.closed();
    this.admission.forget(this);
  }

  check(nowMs: number, limits: AdmissionLimits): void {
    if (this.#over) return;
    if (!this.#settled) {
      if (nowMs - this.#idleSinceMs > limits.prefaceTimeoutMs) this.#close("preface", false);
      return;
    }
    if (this.streams.size === 0 && nowMs - this.#idleSinceMs > limits.connectionIdleMs) {
      this.#close("connection_idle", true);
      return;
    }
    if (nowMs - this.#measured.atMs >= overheadPeriodMs) this.#checkOverhead(nowMs, limits);
    for (const stream of this.streams) stream.check(nowMs, limits);
  }

  #checkOverhead(nowMs: number, limits: AdmissionLimits): void {
    const excused =
      this.#payloadBytes +
      this.#calls * callOverheadBytes +
      this.handle.bytesWritten() / sentPerOverheadByte;
    const overhead = this.handle.bytesRead() - excused;
    const seconds = (nowMs - this.#measured.atMs) / 1000;
    const rate = (overhead - this.#measured.overhead) / seconds;
    this.#measured = { atMs: nowMs, overhead };
    if (rate > limits.overheadBytesRateMax) this.#close("overhead_bytes", false);
  }

  #close(limit: LimitName, politely: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.admission.refused(limit);
    this.handle.close(politely);
  }
}

/**
 * Budgets and counters of one server. The owner calls `sweep`, which moves `nowMs`, about four
 * times a second.
 */
export class Admission {
  readonly limits: AdmissionLimits;
  readonly #observer: AdmissionObserver;
  readonly #connections = new Set<AdmittedConnection>();
  readonly #addresses = new Map<string, Address>();
  readonly #budget: ByteBudget;
  #pressed = false;
  #loopDelayMs = 0;
  nowMs: number;
  streams = 0;

  constructor(
    limits: Partial<AdmissionLimits> = {},
    observer: AdmissionObserver = {},
    nowMs: number = 0,
  ) {
    this.limits = { ...admissionDefaults, ...limits };
    this.#observer = observer;
    this.#budget = new ByteBudget("buffered_bytes", this.limits.bufferedBytesMax);
    this.nowMs = nowMs;
  }

  gauges(): AdmissionGauges {
    return {
      connections: this.#connections.size,
      streams: this.streams,
      bufferedBytes: this.#budget.bytes,
      eventLoopDelayMs: this.#loopDelayMs,
      underPressure: this.#pressed,
      limits: this.limits,
    };
  }

  /** Admits a connection, or counts the limit that it broke. */
  connect(remoteAddress: string, handle: ConnectionHandle): AdmittedConnection | undefined {
    const { limits } = this;
    const address = this.#address(addressKey(remoteAddress));
    const limit = this.#whyNoConnection(address);
    if (limit !== undefined) {
      this.refused(limit);
      return undefined;
    }
    address.connections += 1;
    const connection = new AdmittedConnection(this, address, handle);
    this.#connections.add(connection);
    if (this.#pressed) handle.setStreamWindow(pressedWindowBytes);
    if (limits.connectionRateMax > 0) address.tokens -= 1;
    return connection;
  }

  /** Checks everything that is open. `loopDelayMs`: mean delay of the event loop lately. */
  sweep(nowMs: number, loopDelayMs: number): void {
    this.nowMs = nowMs;
    this.#loopDelayMs = loopDelayMs;
    for (const connection of [...this.#connections]) connection.check(nowMs, this.limits);
    if (this.#pressed && this.#budget.bytes < this.limits.bufferedBytesMax / 4) this.#press(false);
    for (const [key, address] of this.#addresses) {
      this.#refill(address);
      if (address.connections === 0 && address.tokens >= this.limits.connectionsPerAddressMax) {
        this.#addresses.delete(key);
      }
    }
  }

  /** The error for a connection that may not open another call now. */
  whyNoStream({ streams, address }: AdmittedConnection): MillraceError | undefined {
    const { limits } = this;
    const refuse = (limit: LimitName, text: string): MillraceError => {
      this.refused(limit);
      const facts = { limit };
      return MillraceError.refusal(ErrorCode.ADMISSION_REJECTED, text, {
        retryAfterMs: 1000,
        facts,
      });
    };
    if (streams.size >= limits.streamsPerConnectionMax) {
      const text = `${streams.size} calls are open on this connection: end some, or open another connection`;
      return refuse("streams_per_connection", text);
    }
    if (address.streams >= limits.streamsPerAddressMax) {
      const text = `${address.streams} calls of this address are open: end some`;
      return refuse("streams_per_address", text);
    }
    if (this.streams >= limits.streamsMax) {
      return refuse("streams", `${this.streams} calls are open: try again later`);
    }
    if (this.#loopDelayMs > limits.eventLoopDelayMaxMs) {
      return refuse("event_loop_delay", "the server has too much to do: try again later");
    }
    return undefined;
  }

  /** More bytes are buffered; `above` is the budget that this pushed above its bound. */
  buffered(above: ByteBudget | undefined): void {
    if (above !== undefined) this.#relieve(above);
    if (!this.#pressed && this.#budget.bytes > this.limits.bufferedBytesMax / 2) this.#press(true);
  }

  refused(limit: LimitName): void {
    this.#observer.onRefused?.(limit);
  }

  forget(connection: AdmittedConnection): void {
    if (this.#connections.delete(connection)) connection.address.connections -= 1;
  }

  /** Ends calls until `budget` is within its bound, each time the one that buffers most of it. */
  #relieve(budget: ByteBudget): void {
    while (budget.bytes > budget.bytesMax) {
      let largest: AdmittedStream | undefined;
      for (const connection of this.#connections) {
        if (!budget.covers(connection.budget)) continue;
        for (const stream of connection.streams) {
          if (stream.buffered > (largest?.buffered ?? 0)) largest = stream;
        }
      }
      if (largest === undefined) return;
      const text =
        `this call buffers ${sizeText(largest.buffered)} unread or unsent, the most in a full ` +
        "budget: read faster, or send less at once";
      const facts = { limit: budget.limit };
      const error = MillraceError.refusal(ErrorCode.ADMISSION_REJECTED, text, {
        retryAfterMs: 1000,
        facts,
      });
      largest.terminate(budget.limit, error);
    }
  }

  #whyNoConnection(address: Address): LimitName | undefined {
    const { limits } = this;
    if (this.#connections.size >= limits.connectionsMax) return "connections";
    if (address.connections >= limits.connectionsPerAddressMax) return "connections_per_address";
    if (this.#loopDelayMs > limits.eventLoopDelayMaxMs) return "event_loop_delay";
    this.#refill(address);
    return address.tokens < 1 ? "connection_rate" : undefined;
  }

  #refill(address: Address): void {
    const { connectionRateMax, connectionsPerAddressMax } = this.limits;
    const more = ((this.nowMs - address.filledMs) / 1000) * connectionRateMax;
    address.tokens = Math.min(connectionsPerAddressMax, address.tokens + more);
    address.filledMs = this.nowMs;
  }

  #address(key: string): Address {
    const known = this.#addresses.get(key);
    if (known !== undefined) return known;
    const { bufferedBytesPerAddressMax, connectionsPerAddressMax } = this.limits;
    const budget = new ByteBudget(
      "buffered_bytes_per_address",
      bufferedBytesPerAddressMax,
      this.#budget,
    );
    const address = new Address(key, budget, connectionsPerAddressMax, this.nowMs);
    this.#addresses.set(key, address);
    return address;
  }

  /** Small windows slow senders down before calls must be ended; bytes under way still arrive. */
  #press(pressed: boolean): void {
    this.#pressed = pressed;
    const bytes = pressed ? pressedWindowBytes : streamWindowBytes;
    for (const { handle } of this.#connections) handle.setStreamWindow(bytes);
  }
}

/**
 * The unit that address limits apply to: an IPv4 address, or the /64 of an IPv6 address, which a
 * single host usually owns.
 */
export const addressKey = (address: string): string => {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!address.includes(":")) return address;
  const [head = "", tail] = (address.split("%")[0] ?? "").split("::");
  const groups = head === "" ? [] : head.split(":");
  const last = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - groups.length - last.length);
  const all = [...groups, ...Array.from({ length: zeros }, () => "0"), ...last];
  return `${all.slice(0, 4).join(":")}::/64`;
};

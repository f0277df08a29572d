/**
 * One direction of a connection, as TCP carries it: in order, and sent again until it arrives. The
 * operating system does this; the process that sent may be dead or paused.
 */
import type { Cancel } from "@millrace/env";
import { bytesOf, type Frame } from "@millrace/rpc/local";
import type { Kernel } from "../kernel.ts";
import type { Link } from "./link.ts";

/** What is on its way. `refused` answers `syn` where nothing listens. */
export type Packet =
  | { readonly kind: "syn" | "accept" | "fin" | "reset" | "refused" }
  | { readonly kind: "frame"; readonly frame: Frame };

/** Wait before a lost packet is sent again, ms; doubled each time. As in Linux. */
const retryMsMin = 200;
const retryMsMax = 120_000;
/** Retries after which the operating system gives the connection up. */
const retriesMax = 15;
/** Bytes of a packet without a frame. */
const packetBytes = 60;

interface Sent {
  readonly sequence: number;
  readonly packet: Packet;
}

const nameOf = (packet: Packet): string => {
  if (packet.kind !== "frame") return packet.kind;
  const { frame } = packet;
  return frame.kind === "message" || frame.kind === "window"
    ? `${frame.kind} ${frame.kind === "message" ? frame.bytes.length : frame.bytes} B`
    : frame.kind;
};

const sizeOf = (packet: Packet): number =>
  packet.kind === "frame" ? packetBytes + bytesOf(packet.frame) : packetBytes;

/** A reset is sent once. */
const isRepeated = ({ kind }: Packet): boolean => kind !== "reset" && kind !== "refused";

export class Line {
  readonly #kernel: Kernel;
  readonly #link: Link;
  readonly #name: string;
  readonly #arrive: (packet: Packet) => boolean;
  readonly #onGivenUp: () => void;
  /** What has to be sent again, in order. */
  #waiting: Sent[] = [];
  #sequence = 0;
  #lastAtMs = 0;
  #retries = 0;
  #cancelRetry: Cancel | undefined;
  #severed = false;

  constructor(options: {
    readonly kernel: Kernel;
    readonly link: Link;
    /** For the trace: `from>to`. */
    readonly name: string;
    /** False when no machine is there to take the packet. */
    readonly arrive: (packet: Packet) => boolean;
    /** The operating system gave up: the packets never arrived. */
    readonly onGivenUp: () => void;
  }) {
    this.#kernel = options.kernel;
    this.#link = options.link;
    this.#name = options.name;
    this.#arrive = options.arrive;
    this.#onGivenUp = options.onGivenUp;
  }

  send(packet: Packet): void {
    if (this.#severed) return;
    const sent = { sequence: this.#sequence++, packet };
    if (this.#waiting.length > 0) this.#waiting.push(sent);
    else this.#transmit(sent);
  }

  /** Forgets what has to be sent again. What is under way arrives. */
  forget(): void {
    this.#waiting = [];
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.#retries = 0;
  }

  /** Nothing arrives any more, also of what is under way. */
  sever(): void {
    this.#severed = true;
    this.forget();
  }

  #transmit(sent: Sent): void {
    const transit = this.#link.transmit(sizeOf(sent.packet));
    if (typeof transit === "string") {
      if (transit === "lost") this.#kernel.marks.sometimes("network: a packet is lost");
      if (transit === "stalled" || isRepeated(sent.packet)) this.#wait(sent, transit);
      return;
    }
    this.#lastAtMs = Math.max(this.#lastAtMs, this.#kernel.nowMs + transit);
    const what = `${this.#name} ${nameOf(sent.packet)}`;
    this.#kernel.scheduleAt(this.#lastAtMs, () => this.#land(sent), what);
  }

  #land(sent: Sent): void {
    if (this.#severed) return;
    if (this.#arrive(sent.packet)) this.#retries = 0;
    else if (isRepeated(sent.packet)) this.#wait(sent, "lost");
  }

  /** Keeps a packet until it can be sent again. */
  #wait(sent: Sent, why: "lost" | "stalled"): void {
    const at = this.#waiting.findIndex(({ sequence }) => sequence > sent.sequence);
    this.#waiting.splice(at < 0 ? this.#waiting.length : at, 0, sent);
    if (why === "stalled") this.#link.onRelease(() => this.#retry());
    else if (this.#cancelRetry === undefined) this.#scheduleRetry();
  }

  #scheduleRetry(): void {
    if (this.#retries >= retriesMax) {
      this.sever();
      this.#onGivenUp();
      return;
    }
    const delayMs = Math.min(retryMsMax, retryMsMin * 2 ** this.#retries);
    this.#retries += 1;
    this.#cancelRetry = this.#kernel.schedule(
      delayMs,
      () => {
        this.#cancelRetry = undefined;
        this.#retry();
      },
      `${this.#name} retry`,
    );
  }

  /** Sends what waits again, in order. From the first that does not pass on, it waits again. */
  #retry(): void {
    const again = this.#waiting;
    this.#waiting = [];
    for (const [at, sent] of again.entries()) {
      this.#transmit(sent);
      if (this.#waiting.length === 0) continue;
      this.#waiting.push(...again.slice(at + 1));
      return;
    }
  }
}

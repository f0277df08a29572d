/** A connection between two processes: two lines, and an end in each process. */
import type { ConnectionTrouble } from "@millrace/rpc";
import type { Frame, Socket, SocketHandlers } from "@millrace/rpc/local";
import type { Incarnation, Kernel } from "../kernel.ts";
import { Line, type Packet } from "./line.ts";
import type { Link } from "./link.ts";

/** A machine. It outlives the processes on it. */
export interface Host {
  readonly name: string;
  isUp: boolean;
  readonly processes: Set<Incarnation>;
}

/** What accepts connections at an endpoint. */
export interface ListeningSocket {
  readonly process: Incarnation;
  readonly accept: (socket: Socket) => SocketHandlers;
}

/** What the network does to a packet of frames. */
export type Fate = "deliver" | "reset" | "half-open";

/** One end, with the handlers of its process. */
class End implements Socket {
  readonly peer: string;
  readonly #process: Incarnation;
  readonly #line: Line;
  readonly #fate: () => Fate;
  readonly #connection: Connection;
  readonly #stopWatching: () => void;
  #handlers: SocketHandlers | undefined;
  #over = false;

  constructor(
    connection: Connection,
    options: {
      readonly process: Incarnation;
      readonly host: Host;
      readonly peer: string;
      readonly line: Line;
      readonly fate: () => Fate;
    },
  ) {
    const { process, host, line } = options;
    this.peer = options.peer;
    this.#connection = connection;
    this.#process = process;
    this.#line = line;
    this.#fate = options.fate;
    // The operating system of a dead process breaks its connections, after what was sent.
    this.#stopWatching = process.whenKilled(() => {
      this.#end();
      if (host.isUp) line.send({ kind: "reset" });
      else line.forget();
    });
  }

  set handlers(handlers: SocketHandlers) {
    this.#handlers = handlers;
  }

  /** False once nothing takes what arrives. */
  get isOpen(): boolean {
    return !this.#over;
  }

  send(frame: Frame): void {
    if (this.#over) return;
    const fate = this.#fate();
    if (fate === "deliver") this.#line.send({ kind: "frame", frame });
    else this.#connection.breakOff(fate);
  }

  close(): void {
    if (this.#over) return;
    this.#end();
    this.#line.send({ kind: "fin" });
  }

  abort(): void {
    if (this.#over) return;
    this.#end();
    this.#line.forget();
    this.#line.send({ kind: "reset" });
    this.#connection.onAbort();
  }

  /** A packet arrives at the machine. */
  take(packet: Packet): void {
    this.#process.run(() => {
      if (this.#over) return;
      if (packet.kind === "frame") this.#handlers?.onFrame(packet.frame);
      else if (packet.kind === "accept") this.#handlers?.onOpen();
      else if (packet.kind === "refused") this.#fail("refused");
      else this.#fail(packet.kind === "fin" ? "closed" : "reset");
    });
  }

  /** The operating system says that the connection is over. */
  tell(why: ConnectionTrouble): void {
    this.#process.run(() => {
      if (!this.#over) this.#fail(why);
    });
  }

  /** Runs in the process, unless the connection is over. */
  run(what: () => void): void {
    this.#process.run(() => {
      if (!this.#over) what();
    });
  }

  #fail(why: ConnectionTrouble): void {
    this.#end();
    this.#handlers?.onOver(why);
  }

  #end(): void {
    this.#over = true;
    this.#stopWatching();
    this.#connection.onEnd();
  }
}

export class Connection {
  readonly #kernel: Kernel;
  readonly #to: Host;
  readonly #from: Host;
  readonly #links: { readonly up: Link; readonly down: Link };
  readonly #listening: () => ListeningSocket | undefined;
  readonly #fates: { readonly up: () => Fate; readonly down: () => Fate };
  readonly #onOver: () => void;
  readonly #up: Line;
  readonly #down: Line;
  readonly #client: End;
  #server: End | undefined;

  constructor(options: {
    readonly kernel: Kernel;
    readonly process: Incarnation;
    readonly from: Host;
    readonly to: Host;
    readonly links: { readonly up: Link; readonly down: Link };
    readonly handlers: SocketHandlers;
    /** What listens there when the packet arrives. */
    readonly listening: () => ListeningSocket | undefined;
    /** Asked for each frame. */
    readonly fate: (from: string, to: string) => Fate;
    /** Both ends are over. */
    readonly onOver: () => void;
  }) {
    const { kernel, from, to, links, fate } = options;
    this.#kernel = kernel;
    this.#from = from;
    this.#to = to;
    this.#links = links;
    this.#listening = options.listening;
    this.#onOver = options.onOver;
    this.#fates = {
      up: () => fate(from.name, to.name),
      down: () => fate(to.name, from.name),
    };
    this.#up = new Line({
      kernel,
      link: links.up,
      name: `${from.name}>${to.name}`,
      arrive: (packet) => this.#arriveAtServer(packet),
      onGivenUp: () => this.#client.tell("silent"),
    });
    this.#down = new Line({
      kernel,
      link: links.down,
      name: `${to.name}>${from.name}`,
      arrive: (packet) => this.#arriveAtClient(packet),
      onGivenUp: () => this.#server?.tell("silent"),
    });
    const process = options.process;
    const line = this.#up;
    const end = { process, host: from, peer: to.name, line, fate: this.#fates.up };
    this.#client = new End(this, end);
    this.#client.handlers = options.handlers;
    line.send({ kind: "syn" });
  }

  /** The client's end. */
  get socket(): Socket {
    return this.#client;
  }

  /** True if the connection is between the two hosts, in either direction. */
  isBetween(a: string, b: string): boolean {
    const { name: from } = this.#from;
    const { name: to } = this.#to;
    return (from === a && to === b) || (from === b && to === a);
  }

  /** Something on the way breaks the connection. What is under way is lost. */
  breakOff(how: "reset" | "half-open"): void {
    this.#kernel.marks.sometimes(`network: a connection is ${how}`);
    this.#up.sever();
    this.#down.sever();
    if (how === "half-open") return;
    const tell = (end: End | undefined, link: Link, at: Host): void => {
      this.#kernel.schedule(
        link.delayMs(),
        () => {
          if (at.isUp) end?.tell("reset");
        },
        `${at.name} reset`,
      );
    };
    tell(this.#client, this.#links.down, this.#from);
    tell(this.#server, this.#links.up, this.#to);
  }

  onEnd(): void {
    if (!this.#client.isOpen && this.#server?.isOpen !== true) this.#onOver();
  }

  onAbort(): void {
    this.#kernel.marks.sometimes("network: a silent connection is given up");
  }

  #arriveAtClient(packet: Packet): boolean {
    if (!this.#from.isUp) return false;
    if (this.#client.isOpen) this.#client.take(packet);
    else this.#answerForTheDead(packet, this.#up);
    return true;
  }

  #arriveAtServer(packet: Packet): boolean {
    if (!this.#to.isUp) return false;
    if (packet.kind === "syn") this.#accept();
    else if (this.#server?.isOpen === true) this.#server.take(packet);
    else this.#answerForTheDead(packet, this.#down);
    return true;
  }

  /** The machine knows no such connection. */
  #answerForTheDead(packet: Packet, line: Line): void {
    if (packet.kind !== "frame" && packet.kind !== "accept") return;
    this.#kernel.marks.sometimes("network: a machine resets a connection that is over");
    line.send({ kind: "reset" });
  }

  #accept(): void {
    const listening = this.#listening();
    if (listening === undefined) {
      this.#kernel.marks.sometimes("network: a connection is refused");
      this.#down.send({ kind: "refused" });
      return;
    }
    const { process, accept } = listening;
    const end = new End(this, {
      ...{ process, host: this.#to, peer: this.#from.name },
      ...{ line: this.#down, fate: this.#fates.down },
    });
    this.#server = end;
    end.run(() => {
      end.handlers = accept(end);
      this.#down.send({ kind: "accept" });
    });
  }
}

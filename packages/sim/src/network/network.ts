/**
 * The simulated network: machines, links between them, and connections of processes. What a process
 * holds of it (dialer, listener, open calls) belongs to that life of the process, and does nothing
 * after its end.
 */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { Dialer, Listener } from "@millrace/rpc";
import { type LocalTransport, localCarrier, type Socket } from "@millrace/rpc/local";
import type { Incarnation, Kernel } from "../kernel.ts";
import { Connection, type Fate, type Host, type ListeningSocket } from "./connection.ts";
import { Link } from "./link.ts";

/** One host or several. */
export type Hosts = string | readonly string[];

/** What a dead process holds: nothing. */
const deadSocket: Socket = { peer: "", send: () => {}, close: () => {}, abort: () => {} };

const hostOf = (endpoint: string): string => endpoint.slice(0, endpoint.lastIndexOf(":"));

const listOf = (hosts: Hosts): readonly string[] => (typeof hosts === "string" ? [hosts] : hosts);

export class SimNetwork {
  readonly #kernel: Kernel;
  readonly #delayMs: () => number;
  readonly #hosts = new Map<string, Host>();
  readonly #links = new Map<string, Link>();
  readonly #listening = new Map<string, ListeningSocket>();
  readonly #connections = new Set<Connection>();
  #nextPort = 1000;
  /** What happens to each frame. A frame that is not delivered takes its connection with it. */
  fate: (from: string, to: string) => Fate = () => "deliver";

  /** `delayMs`: time under way of each packet, unless `delay` says otherwise. */
  constructor(kernel: Kernel, delayMs: () => number = () => 0.1) {
    this.#kernel = kernel;
    this.#delayMs = delayMs;
  }

  /** The network as a process on a host sees it. Endpoints are `host:port`; port 0 picks one. */
  attach(hostName: string, process: Incarnation): { dialer: Dialer; listener: Listener } {
    const host = this.#host(hostName);
    host.processes.add(process);
    process.whenKilled(() => host.processes.delete(process));
    const transport: LocalTransport = {
      host: hostName,
      clock: process.clock(),
      get alive() {
        return process.alive;
      },
      connect: (endpoint, handlers) =>
        process.alive ? this.#connect(process, host, endpoint, handlers) : deadSocket,
      listen: (endpoint, accept) => this.#listen(hostName, endpoint, { process, accept }),
    };
    return localCarrier(transport);
  }

  /** The machine loses power: its processes die, and peers hear nothing, not even a refusal. */
  powerOff(hostName: string): void {
    const host = this.#host(hostName);
    this.#kernel.trace(`power off ${hostName}`);
    host.isUp = false;
    for (const process of [...host.processes]) process.kill();
  }

  /** The machine runs again, without processes. It resets the connections of its last life. */
  powerOn(hostName: string): void {
    this.#kernel.trace(`power on ${hostName}`);
    this.#host(hostName).isUp = true;
  }

  /** Loses every packet, one way, until `heal`. Those of connections are sent again by then. */
  cut(from: Hosts, to: Hosts): void {
    this.lose(from, to, 1);
  }

  /** Loses every packet between the two sets of hosts, both ways. */
  partition(a: Hosts, b: Hosts): void {
    this.cut(a, b);
    this.cut(b, a);
  }

  /** Loses a part of the packets, 0 to 1, one way. */
  lose(from: Hosts, to: Hosts, chance: number): void {
    this.#each(from, to, `lose ${chance}`, (link) => {
      link.lossChance = chance;
    });
  }

  /** Holds everything, one way, until `heal`: then it arrives, in order. */
  stall(from: Hosts, to: Hosts): void {
    this.#each(from, to, "stall", (link) => link.stall());
  }

  /** Ends losses and stalls between two sets of hosts, both ways; without them, everywhere. */
  heal(a?: Hosts, b?: Hosts): void {
    const mend = (link: Link): void => {
      link.lossChance = 0;
      link.release();
    };
    if (a === undefined || b === undefined) {
      this.#kernel.trace("heal");
      for (const link of this.#links.values()) mend(link);
      return;
    }
    this.#each(a, b, "heal", mend);
    this.#each(b, a, "heal", mend);
  }

  /** Sets the time under way, one way, ms: fixed, or asked for each packet. */
  delay(from: Hosts, to: Hosts, ms: number | (() => number)): void {
    const delayMs = typeof ms === "number" ? () => ms : ms;
    this.#each(from, to, "delay", (link) => {
      link.delayMs = delayMs;
    });
  }

  /** Sets the bandwidth, one way. All connections between the hosts share it. */
  limit(from: Hosts, to: Hosts, bytesPerSecond: number): void {
    this.#each(from, to, `limit ${bytesPerSecond} B/s`, (link) => {
      link.bytesPerSecond = bytesPerSecond;
    });
  }

  /**
   * Breaks the connections between two hosts, whichever dialed. `reset`: both sides are told.
   * `half-open`: nothing arrives any more and nobody is told, as when something on the way forgets
   * them.
   */
  breakConnections(a: string, b: string, how: "reset" | "half-open"): void {
    this.#kernel.trace(`break ${a} ${b} ${how}`);
    for (const connection of [...this.#connections]) {
      if (connection.isBetween(a, b)) connection.breakOff(how);
    }
  }

  #host(name: string): Host {
    let host = this.#hosts.get(name);
    if (host === undefined) {
      host = { name, isUp: true, processes: new Set() };
      this.#hosts.set(name, host);
    }
    return host;
  }

  #link(from: string, to: string): Link {
    const name = `${from}>${to}`;
    let link = this.#links.get(name);
    if (link === undefined) {
      link = new Link(this.#kernel, this.#delayMs);
      this.#links.set(name, link);
    }
    return link;
  }

  #each(from: Hosts, to: Hosts, what: string, change: (link: Link) => void): void {
    this.#kernel.trace(`${from}>${to} ${what}`);
    for (const a of listOf(from)) for (const b of listOf(to)) change(this.#link(a, b));
  }

  #connect(
    process: Incarnation,
    from: Host,
    endpoint: string,
    handlers: ConstructorParameters<typeof Connection>[0]["handlers"],
  ): Socket {
    const to = this.#host(hostOf(endpoint));
    const up = this.#link(from.name, to.name);
    const down = this.#link(to.name, from.name);
    const connection = new Connection({
      ...{ kernel: this.#kernel, process, from, to, links: { up, down }, handlers },
      listening: () => this.#listening.get(endpoint),
      fate: (a, b) => this.fate(a, b),
      onOver: () => this.#connections.delete(connection),
    });
    this.#connections.add(connection);
    return connection.socket;
  }

  #listen(
    host: string,
    endpoint: string,
    listening: ListeningSocket,
  ): { endpoint: string; close(): void } {
    const wanted = endpoint.slice(endpoint.lastIndexOf(":") + 1);
    const bound = `${host}:${wanted === "0" ? this.#nextPort++ : wanted}`;
    if (this.#listening.has(bound)) {
      throw new MillraceError(
        ErrorCode.UNAVAILABLE,
        `${bound} is in use: stop the other process, or choose another port`,
      );
    }
    this.#listening.set(bound, listening);
    const close = (): void => {
      if (this.#listening.get(bound) === listening) this.#listening.delete(bound);
    };
    const forget = listening.process.whenKilled(close);
    return {
      endpoint: bound,
      close: () => {
        forget();
        close();
      },
    };
  }
}

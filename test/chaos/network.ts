/**
 * A network with a machine for each process, and what happens to the links between them. Inside of
 * a laboratory alone. The runner and its clients reach every machine, whatever happens.
 *
 * Only `ip` and `tc` are needed. What a link suffers is done where packets leave:
 *
 * - `lose`: the address of the other machine has a hardware address that nobody has.
 * - `refuse`: the address of the other machine is one of this machine, too, where nothing listens:
 *   what is sent on an open connection is answered with a reset, a new one is refused.
 * - `slow`: the cable of a machine takes few bytes a second, and holds back what waits.
 */
import type { Place } from "../../tools/cluster/layout.ts";
import { inNetwork, system } from "./laboratory.ts";

const subnet = "10.77.0";
const bridge = "lab";
const nobody = "02:00:00:00:00:ff";
/** Address of the first machine; the runner is the last. */
const firstHost = 10;
/** A slow cable: less than the load of the run, and a queue of half a second. */
const slowCable = ["rate", "400kbit", "burst", "4kb", "latency", "500ms"];

/** Replies only for its own addresses of a link: `refuse` gives a machine one of another's. */
const strictReplies = "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore";

export class Network {
  readonly #names: readonly string[];
  /** How to end what links suffer, the newest last. */
  readonly #undo: (() => void)[] = [];

  /** Makes the machines. */
  constructor(names: readonly string[]) {
    this.#names = names;
    system("ip", ["link", "add", bridge, "type", "bridge"]);
    system("ip", ["addr", "add", `${subnet}.254/24`, "dev", bridge]);
    system("ip", ["link", "set", bridge, "up"]);
    names.forEach((name, i) => {
      const cable = this.#cableOf(name);
      system("ip", ["netns", "add", name]);
      const peer = ["peer", "name", "eth0", "netns", name];
      system("ip", ["link", "add", cable, "type", "veth", ...peer]);
      system("ip", ["link", "set", cable, "master", bridge, "up"]);
      const own = [`addr add ${subnet}.${firstHost + i}/24 dev eth0`];
      this.#ip(name, [...own, "link set eth0 up", "link set lo up"]);
      const [program = "", ...args] = [...inNetwork(name), "sh", "-c", strictReplies];
      system(program, args);
    });
  }

  /** Where a process of this name runs. */
  placeOf(name: string): Place {
    return { host: this.#hostOf(name), enter: inNetwork(name) };
  }

  /** Packets from one machine to another vanish. Those of the other direction arrive. */
  lose(from: string, to: string): void {
    const neighbour = `${this.#hostOf(to)} dev eth0`;
    this.#ip(from, [`neigh replace ${neighbour} lladdr ${nobody} nud permanent`]);
    this.#undo.push(() => this.#ip(from, [`neigh del ${neighbour}`]));
  }

  /** Each of two machines refuses the other: open connections are reset, new ones fail at once. */
  refuse(one: string, other: string): void {
    for (const [from, to] of [
      [one, other],
      [other, one],
    ] as const) {
      const address = `${this.#hostOf(to)}/32 dev lo`;
      this.#ip(from, [`addr add ${address}`]);
      this.#undo.push(() => this.#ip(from, [`addr del ${address}`]));
    }
  }

  /** What a machine is sent waits for its turn. */
  slow(name: string): void {
    const cable = this.#cableOf(name);
    system("tc", ["qdisc", "add", "dev", cable, "root", "tbf", ...slowCable]);
    this.#undo.push(() => system("tc", ["qdisc", "del", "dev", cable, "root"]));
  }

  /** All links are as they were. */
  heal(): void {
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) undo();
  }

  #hostOf(name: string): string {
    return `${subnet}.${firstHost + this.#indexOf(name)}`;
  }

  /** Names of links have 15 letters at most. */
  #cableOf(name: string): string {
    return `cable-${this.#indexOf(name)}`;
  }

  #indexOf(name: string): number {
    const index = this.#names.indexOf(name);
    if (index < 0) throw new RangeError(`there is no machine ${name}`);
    return index;
  }

  #ip(name: string, commands: readonly string[]): void {
    system("ip", ["-n", name, "-batch", "-"], commands.join("\n"));
  }
}

/** A TCP proxy on loopback that cuts, stalls, delays and parts. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export type Direction = "up" | "down";

/** A partition: what clients have sent during it, for which server's connection, until `seal`. */
interface Parted {
  readonly held: (readonly [Socket, Buffer])[];
  isSealed: boolean;
}

export class FaultyLink {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  readonly #stalled = new Map<Direction, Promise<unknown>>();
  /** Connections to the server that outlive their client's. */
  readonly #orphans = new Set<Socket>();
  #parted: Parted | undefined;
  /** Before every chunk that is passed on, ms. */
  delayMs: (direction: Direction) => number = () => 0;
  port = 0;
  connections = 0;

  private constructor(target: number) {
    this.#server = createServer((client) => {
      this.connections += 1;
      const upstream = connect(target, "127.0.0.1");
      const pair = [client, upstream] as const;
      this.#pairs.add(pair);
      for (const socket of pair) {
        socket.setNoDelay(true);
        socket.on("error", () => this.#end(pair)).on("close", () => this.#end(pair));
      }
      this.#pass(client, upstream, "up").catch(() => this.#end(pair));
      this.#pass(upstream, client, "down").catch(() => this.#end(pair));
    });
  }

  static async start(target: number): Promise<FaultyLink> {
    const link = new FaultyLink(target);
    link.#server.listen(0, "127.0.0.1");
    await once(link.#server, "listening");
    const address = link.#server.address();
    link.port = typeof address === "object" ? (address?.port ?? 0) : 0;
    return link;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Ends all connections; what is on its way is lost. */
  cut(): void {
    for (const pair of [...this.#pairs]) this.#end(pair);
  }

  /** Passes nothing on in a direction for a time. Connections stay open. */
  stall(direction: Direction, ms: number): void {
    this.#stalled.set(direction, sleep(ms));
  }

  /**
   * Passes nothing on until `heal`. Connections stay open, and new ones are taken, but nobody
   * answers on them.
   */
  partition(): void {
    this.#parted = { held: [], isSealed: false };
  }

  /** Whether the partition holds up a text that a client has sent. */
  holds(text: string): boolean {
    const held = this.#parted?.held ?? [];
    return Buffer.concat(held.map(([, chunk]) => chunk)).includes(text);
  }

  /** What clients have sent since `partition` arrives at `heal`; what they send now is lost. */
  seal(): void {
    if (this.#parted !== undefined) this.#parted.isSealed = true;
  }

  /** Ends a partition: what it holds up arrives, late. Clients have to connect anew. */
  heal(): void {
    const held = this.#parted?.held ?? [];
    for (const pair of [...this.#pairs]) this.#end(pair);
    this.#parted = undefined;
    for (const [upstream, chunk] of held) upstream.write(chunk);
  }

  async close(): Promise<void> {
    this.#parted = undefined;
    this.cut();
    for (const upstream of this.#orphans) upstream.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #pass(from: Socket, to: Socket, direction: Direction): Promise<void> {
    for await (const chunk of from) {
      await this.#stalled.get(direction);
      const delayMs = this.delayMs(direction);
      if (delayMs > 0) await sleep(delayMs);
      if (this.#parted === undefined) to.write(chunk);
      else if (direction === "up" && !this.#parted.isSealed) this.#parted.held.push([to, chunk]);
    }
    if (this.#parted === undefined) to.end();
  }

  #end(pair: readonly [Socket, Socket]): void {
    if (!this.#pairs.delete(pair)) return;
    const [client, upstream] = pair;
    client.destroy();
    // The server learns nothing of a client that leaves during a partition.
    if (this.#parted === undefined) upstream.destroy();
    else this.#orphans.add(upstream);
  }
}

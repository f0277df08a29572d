/** A TCP proxy on loopback that cuts, stalls and delays. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export type Direction = "up" | "down";

export class FaultyLink {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  readonly #stalled = new Map<Direction, Promise<unknown>>();
  /** Before every chunk that is passed on, ms. */
  delayMs: () => number = () => 0;
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

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #pass(from: Socket, to: Socket, direction: Direction): Promise<void> {
    for await (const chunk of from) {
      await this.#stalled.get(direction);
      const delayMs = this.delayMs();
      if (delayMs > 0) await sleep(delayMs);
      to.write(chunk);
    }
    to.end();
  }

  #end(pair: readonly [Socket, Socket]): void {
    this.#pairs.delete(pair);
    for (const socket of pair) socket.destroy();
  }
}

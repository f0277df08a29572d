/** Connections to Millrace clusters: one for each Cluster, made when it is first asked for. */
import type { Cluster } from "../api/index.ts";
import { keyOf, keyText } from "../runtime/cache.ts";
import type { ObjectKey } from "../runtime/kubernetes.ts";

/** Open connections, at most; the one that was not asked for the longest goes first. */
const connectionsMax = 256;

export interface Connection {
  close(): Promise<void>;
}

interface Entry<C> {
  /** Another Cluster of the name, or another address, is another connection. */
  readonly to: string;
  readonly connection: C;
}

/** Where the cluster says that clients begin; undefined until it does. */
export const addressOf = ({ status }: Cluster): string | undefined =>
  status?.listeners?.[0]?.bootstrap;

export class Connections<C extends Connection> {
  readonly #connect: (bootstrap: string) => C;
  readonly #onError: (error: unknown) => void;
  readonly #entries = new Map<string, Entry<C>>();
  readonly #closing = new Set<Promise<void>>();

  /** `onError`: a connection could not be closed. */
  constructor(connect: (bootstrap: string) => C, onError: (error: unknown) => void) {
    this.#connect = connect;
    this.#onError = onError;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Undefined while the cluster has no address. Kept and closed here. */
  to(cluster: Cluster): C | undefined {
    const address = addressOf(cluster);
    const key = keyText(keyOf(cluster));
    const to = `${cluster.metadata.uid} ${address}`;
    const known = this.#entries.get(key);
    if (known !== undefined) this.#entries.delete(key);
    if (known !== undefined && known.to !== to) this.#close(known);
    if (address === undefined) return undefined;
    const entry = known?.to === to ? known : { to, connection: this.#connect(address) };
    this.#entries.set(key, entry);
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > connectionsMax && oldest !== undefined) this.#forget(oldest);
    return entry.connection;
  }

  /** The Cluster is gone. */
  forget(cluster: ObjectKey): void {
    this.#forget(keyText(cluster));
  }

  #forget(key: string): void {
    const known = this.#entries.get(key);
    this.#entries.delete(key);
    if (known !== undefined) this.#close(known);
  }

  /** Ends all of them. */
  async close(): Promise<void> {
    for (const key of [...this.#entries.keys()]) this.#forget(key);
    await Promise.all(this.#closing);
  }

  #close({ connection }: Entry<C>): void {
    const closing = connection.close().catch(this.#onError);
    this.#closing.add(closing);
    void closing.then(() => this.#closing.delete(closing));
  }
}

/** Which servers tell the metadata, in which order they are asked, and how soon. */
import type { Cancel, Clock } from "@millrace/env";
import type { Endpoint } from "@millrace/errors";
import { endpointKey } from "../connections.ts";

/**
 * How long one server is waited for before the next one is asked as well, milliseconds (RFC 8305).
 */
const nextServerMs = 250;

/** A call of one server. Aborting `signal` must end it: another server was faster. */
export type Ask<T> = (endpoint: Endpoint, signal: AbortSignal) => Promise<T>;

export interface ServersContext {
  readonly clock: Clock;
  /** At least one. */
  readonly bootstrap: readonly Endpoint[];
  /** Brokers that are known by now. */
  readonly brokers: () => readonly Endpoint[];
}

/** The servers of a cluster, as far as the client knows them. */
export class Servers {
  readonly #context: ServersContext;
  #good: Endpoint | undefined;
  /** Key of a server that fell silent, or ended a watch. */
  #left: string | undefined;

  constructor(context: ServersContext) {
    this.#context = context;
  }

  get bootstrap(): readonly Endpoint[] {
    return this.#context.bootstrap;
  }

  /** The server that answered last. */
  get good(): Endpoint | undefined {
    return this.#good;
  }

  /** From now on the server is asked after all others, until it answers again. */
  leave(endpoint: Endpoint): void {
    this.#left = endpointKey(endpoint);
    this.#forget(endpoint);
  }

  /**
   * The first answer of any server. The next one is asked when those before it failed, or are
   * slow. Rejects with the last failure, or with the reason of `signal`. An answer that comes too
   * late goes to `discard`.
   */
  firstAnswer<T>(
    ask: Ask<T>,
    signal: AbortSignal,
    discard: (answer: T) => void = () => {},
  ): Promise<T> {
    const candidates = this.#candidates();
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const over = new AbortController();
    let asked = 0;
    let failed = 0;
    let cancelTimer: Cancel = () => {};
    const end = (): void => {
      cancelTimer();
      signal.removeEventListener("abort", onAbort);
      over.abort();
    };
    const onAbort = (): void => {
      reject(signal.reason);
      end();
    };
    const askNext = (): void => {
      cancelTimer();
      const endpoint = candidates[asked];
      if (endpoint === undefined || over.signal.aborted) return;
      asked += 1;
      cancelTimer = this.#context.clock.timer(nextServerMs, askNext);
      this.#askOne(endpoint, ask, over.signal).then(
        (answer) => {
          if (over.signal.aborted) {
            discard(answer);
            return;
          }
          this.#good = endpoint;
          if (this.#left === endpointKey(endpoint)) this.#left = undefined;
          resolve(answer);
          end();
        },
        (thrown: unknown) => {
          failed += 1;
          if (failed < candidates.length) {
            askNext();
            return;
          }
          reject(thrown);
          end();
        },
      );
    };
    if (signal.aborted) onAbort();
    else {
      signal.addEventListener("abort", onAbort, { once: true });
      askNext();
    }
    return promise;
  }

  async #askOne<T>(endpoint: Endpoint, ask: Ask<T>, signal: AbortSignal): Promise<T> {
    try {
      return await ask(endpoint, signal);
    } catch (thrown) {
      if (!signal.aborted) this.#forget(endpoint);
      throw thrown;
    }
  }

  #forget(endpoint: Endpoint): void {
    const good = this.#good;
    if (good !== undefined && endpointKey(good) === endpointKey(endpoint)) this.#good = undefined;
  }

  /** In order: the one that answered last, the bootstrap servers, brokers; last the one left. */
  #candidates(): Endpoint[] {
    const all = [...this.#context.bootstrap, ...this.#context.brokers()];
    if (this.#good !== undefined) all.unshift(this.#good);
    const byKey = new Map<string, Endpoint>();
    for (const endpoint of all) {
      const key = endpointKey(endpoint);
      if (!byKey.has(key)) byKey.set(key, endpoint);
    }
    const left = this.#left === undefined ? undefined : byKey.get(this.#left);
    if (this.#left !== undefined && left !== undefined) {
      byKey.delete(this.#left);
      byKey.set(this.#left, left);
    }
    return [...byKey.values()];
  }
}

/**
 * Watches over the process that holds a leased key. When that process is dead, its key is deleted,
 * so that nobody waits for its lease.
 */
import type { Cancel, Clock, Logger } from "@millrace/env";
import { type Endpoint, formatEndpoint, MillraceError } from "@millrace/errors";
import type { KeyValue, MetadataStore, Mirror } from "@millrace/metadata";
import { askHealth, type Channel, type Dialer, isConnectionRefused } from "@millrace/rpc";

export interface HolderWatchOptions {
  readonly store: MetadataStore;
  readonly mirror: Mirror;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Reaches the internal listeners of the holders. */
  readonly dialer: Dialer;
  readonly key: string;
  /** Internal address in the key's value; undefined where there is none to watch. */
  readonly endpointOf: (kv: KeyValue) => Endpoint | undefined;
  /** The holder, for people. */
  readonly name: string;
}

export const holderWatchLimits = {
  /** Time between two questions while it answers, ms. */
  intervalMs: 500,
  /** Longest wait for an answer, ms. */
  timeoutMs: 1_000,
  /** Pause before it is dialed again after it did not answer, ms. */
  pauseMs: 100,
} as const;

const limits = holderWatchLimits;

/** The holder, as long as its key and its address are the same. */
interface Active {
  readonly epoch: number;
  readonly endpoint: Endpoint | undefined;
  /** While it answers. */
  channel: Channel | undefined;
  /** It has answered this process at its address. */
  hasAnswered: boolean;
}

export class HolderWatch {
  readonly #options: HolderWatchOptions;
  #active: Active | undefined;
  #cancelNext: Cancel = () => {};
  #isOver = false;
  /** Why the key could not be deleted, the last time. */
  #failure: string | undefined;

  constructor(options: HolderWatchOptions) {
    this.#options = options;
    this.#lookIn(limits.intervalMs);
  }

  close(): void {
    this.#isOver = true;
    this.#cancelNext();
    this.#follow(undefined);
  }

  #lookIn(ms: number): void {
    if (this.#isOver) return;
    this.#cancelNext = this.#options.clock.timer(ms, () => {
      void this.#look().then((nextMs) => this.#lookIn(nextMs));
    });
  }

  /** Returns when to look again, ms from now. Never rejects. */
  async #look(): Promise<number> {
    const { dialer, key, mirror } = this.#options;
    const active = this.#follow(mirror.get(key));
    if (active?.endpoint === undefined) return limits.intervalMs;
    active.channel ??= dialer.dial(formatEndpoint(active.endpoint), active.endpoint);
    try {
      await askHealth(active.channel, limits.timeoutMs);
      active.hasAnswered = true;
      return limits.intervalMs;
    } catch (thrown) {
      // Another connection says whether anybody listens.
      active.channel?.close();
      active.channel = undefined;
      if (!active.hasAnswered || this.#isOver) return limits.intervalMs;
      if (isConnectionRefused(thrown)) await this.#replace(active);
      return limits.pauseMs;
    }
  }

  #follow(kv: KeyValue | undefined): Active | undefined {
    const next = kv && this.#activeIn(kv);
    if (next !== undefined && isSame(next, this.#active)) return this.#active;
    this.#active?.channel?.close();
    this.#active = next;
    return next;
  }

  #activeIn(kv: KeyValue): Active {
    return {
      ...{ epoch: kv.createRevision, endpoint: this.#options.endpointOf(kv) },
      ...{ channel: undefined, hasAnswered: false },
    };
  }

  /**
   * Never rejects. Deletes the key if it is still the same; everybody goes on when they have read
   * that. A holder that lives after all takes the key anew, under another epoch.
   */
  async #replace({ epoch }: Active): Promise<void> {
    const { key, logger, name, store } = this.#options;
    const same = { key, target: "createRevision", equals: epoch } as const;
    try {
      const { succeeded } = await store.txn([same], [{ type: "delete", range: { key } }]);
      this.#failure = undefined;
      if (!succeeded) return;
      logger.warn({ epoch }, `${name} is dead: its address refuses connections`);
    } catch (thrown) {
      const err = MillraceError.from(thrown);
      // One line for as long as the reason is the same.
      if (this.#failure !== err.message) {
        logger.warn({ epoch, err }, `${name} is dead and cannot be replaced: trying again`);
      }
      this.#failure = err.message;
    }
  }
}

const isSame = (next: Active, active: Active | undefined): boolean =>
  next.epoch === active?.epoch && addressOf(next) === addressOf(active);

const addressOf = ({ endpoint }: Active): string =>
  endpoint === undefined ? "" : formatEndpoint(endpoint);

/**
 * Watches over the active controller from one that waits for its place. When the process of the
 * active one is dead, its election's key is deleted, so that nobody waits for its lease.
 */
import type { Cancel, Clock, Logger } from "@millrace/env";
import { type Endpoint, formatEndpoint, MillraceError, parseEndpoint } from "@millrace/errors";
import {
  decodeRecord,
  type KeyValue,
  keys,
  type MetadataStore,
  type Mirror,
} from "@millrace/metadata";
import { askHealth, type Channel, type Dialer, isConnectionRefused } from "@millrace/rpc";
import { standbyLimits as limits } from "./limits.ts";

export interface StandbyWatchOptions {
  readonly store: MetadataStore;
  readonly mirror: Mirror;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Reaches the internal listeners of the controllers. */
  readonly dialer: Dialer;
}

/** The active controller, as long as its key and its address are the same. */
interface Active {
  readonly epoch: number;
  readonly endpoint: Endpoint | undefined;
  /** While it answers. */
  channel: Channel | undefined;
  /** It has answered this process at its address. */
  hasAnswered: boolean;
}

export class StandbyWatch {
  readonly #options: StandbyWatchOptions;
  #active: Active | undefined;
  #cancelNext: Cancel = () => {};
  #isOver = false;
  /** Why the key could not be deleted, the last time. */
  #failure: string | undefined;

  constructor(options: StandbyWatchOptions) {
    this.#options = options;
    this.#lookIn(limits.intervalMs);
  }

  /** This process is elected, or stops. */
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
    const { dialer, mirror } = this.#options;
    const active = this.#follow(mirror.get(keys.controller));
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
    const next = kv && activeOf(kv);
    if (next !== undefined && isSame(next, this.#active)) return this.#active;
    this.#active?.channel?.close();
    this.#active = next;
    return next;
  }

  /**
   * Never rejects. Deletes the key if it is still the same. The election goes on when the mirror
   * has read that; a controller that lives after all ends its reign then.
   */
  async #replace({ epoch }: Active): Promise<void> {
    const { logger, store } = this.#options;
    const key = keys.controller;
    const same = { key, target: "createRevision", equals: epoch } as const;
    try {
      const { succeeded } = await store.txn([same], [{ type: "delete", range: { key } }]);
      this.#failure = undefined;
      if (!succeeded) return;
      logger.warn({ epoch }, "the active controller is dead: its address refuses connections");
    } catch (thrown) {
      const err = MillraceError.from(thrown);
      // One line for as long as the reason is the same.
      if (this.#failure !== err.message) {
        logger.warn({ epoch, err }, "a dead controller cannot be replaced: trying again");
      }
      this.#failure = err.message;
    }
  }
}

const activeOf = (kv: KeyValue): Active => ({
  ...{ epoch: kv.createRevision, endpoint: endpointIn(kv) },
  ...{ channel: undefined, hasAnswered: false },
});

const isSame = (next: Active, active: Active | undefined): boolean =>
  next.epoch === active?.epoch && addressOf(next) === addressOf(active);

const addressOf = ({ endpoint }: Active): string =>
  endpoint === undefined ? "" : formatEndpoint(endpoint);

/** Undefined until it listens, and in a record that is damaged, which its readers say. */
const endpointIn = (kv: KeyValue): Endpoint | undefined => {
  try {
    return parseEndpoint(decodeRecord.controller(kv).internalEndpoint);
  } catch {
    return undefined;
  }
};

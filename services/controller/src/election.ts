/** One active controller: a campaign for a key under a lease. */
import { create } from "@bufbuild/protobuf";
import type { Clock, Logger, Random } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import {
  encodeRecord,
  GuardedWriter,
  keys,
  LeasedKey,
  type MetadataStore,
  type Mirror,
  type Operation,
  sessionSeconds,
} from "@millrace/metadata";
import { type ControllerRecord, ControllerRecordSchema } from "@millrace/proto/storage";
import { campaignIntervalMs, campaignIntervalMsMax, changesPerTransaction } from "./limits.ts";
import { Reign } from "./reign.ts";

export interface ElectionOptions {
  readonly store: MetadataStore;
  /** Tells at once when the key is free, or lost. */
  readonly mirror: Mirror;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly controllerId: number;
  /** Of the lease, whole seconds. Default `sessionSeconds`. */
  readonly ttlSeconds?: number;
}

/** Where a controller is reached, `host:port` each. */
export interface ControllerEndpoints {
  readonly clientEndpoint: string;
  readonly internalEndpoint: string;
}

/** Names of the writers of controllers begin with it. */
const writers = "controller-";

export class Election {
  readonly #options: ElectionOptions;
  readonly #key: LeasedKey;
  readonly #ttlSeconds: number;
  readonly #record: ControllerRecord;
  /** The key may hold other addresses than `#record`. */
  #isOutdated = false;
  #reign: Reign | undefined;
  #wake: () => void = () => {};
  /** The key has changed since the last attempt began. */
  #hasNews = false;
  /** Attempts in a row that failed. */
  #failures = 0;
  #closed = false;
  /** Why the last attempt failed, or undefined when it told who holds the key. */
  failure: string | undefined;

  constructor(options: ElectionOptions) {
    this.#options = options;
    const { store, clock, random, controllerId, ttlSeconds = sessionSeconds } = options;
    this.#ttlSeconds = ttlSeconds;
    this.#key = new LeasedKey({ store, clock, key: keys.controller, ttlSeconds });
    const incarnationId = random.bytes(16);
    this.#record = create(ControllerRecordSchema, { controllerId, incarnationId });
  }

  /**
   * Tells where this process is reached: now when it is the active controller, and whenever it is
   * elected. Rejects with the store's errors; the next election tells it then.
   */
  async announce(endpoints: ControllerEndpoints): Promise<void> {
    Object.assign(this.#record, endpoints);
    this.#isOutdated = true;
    const reign = this.#reign;
    if (reign?.isActive === true) await this.#tell(reign.epoch);
  }

  /** Resolves once this process is the active controller, or with undefined after `close`. */
  async campaign(): Promise<Reign | undefined> {
    const { mirror, logger } = this.#options;
    const stop = mirror.onChange((events) => {
      if (!events.some(({ kv }) => kv.key === keys.controller)) return;
      this.#hasNews = true;
      this.#wake();
    });
    try {
      while (!this.#closed) {
        this.#hasNews = false;
        const reign = await this.#attempt().then(
          (result) => {
            this.#failures = 0;
            this.failure = undefined;
            return result;
          },
          (thrown: unknown) => {
            const err = MillraceError.from(thrown);
            this.#failures += 1;
            // One line for as long as the reason is the same.
            if (this.failure !== err.message) {
              logger.warn({ err }, "the election cannot be held: trying again");
            }
            this.failure = err.message;
          },
        );
        if (reign !== undefined) return reign;
        await this.#pause();
      }
      return undefined;
    } finally {
      stop();
    }
  }

  /** Ends the reign and gives up the key, so that another controller need not wait. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#reign?.end("it stops");
    this.#wake();
    await this.#key.release();
  }

  async #attempt(): Promise<Reign | undefined> {
    const { store, clock, random, logger, controllerId } = this.#options;
    const value = encodeRecord.controller(this.#record);
    const { createRevision: epoch } = await this.#key.tryTake(value);
    if (this.#closed) await this.#key.release();
    if (epoch === undefined || this.#closed) return undefined;
    // An attempt of before may have put the key.
    if (this.#isOutdated) await this.#tell(epoch);
    const writer = new GuardedWriter({
      ...{ store, clock, random, writer: `${writers}${controllerId}.${epoch}` },
    });
    const reign = new Reign(epoch, store, writer);
    this.#reign = reign;
    this.#watchOver(reign);
    logger.info({ controller: controllerId, epoch }, "this controller is elected");
    await this.#forgetTokens(reign).catch((thrown: unknown) => {
      logger.warn({ err: MillraceError.from(thrown) }, "tokens of earlier controllers stay");
    });
    // An answer that comes after its lease elects nobody.
    return reign.isActive ? reign : undefined;
  }

  async #tell(epoch: number): Promise<void> {
    const value = encodeRecord.controller(this.#record);
    if (await this.#key.replace(epoch, value)) this.#isOutdated = false;
  }

  /** Late transactions of earlier controllers are refused by their guard already. */
  async #forgetTokens(reign: Reign): Promise<void> {
    const { kvs } = await this.#options.store.range({ prefix: `${keys.tokens}${writers}` });
    const others = kvs.filter(({ modRevision }) => modRevision < reign.epoch);
    for (let at = 0; at < others.length; at += changesPerTransaction) {
      const deletes = others
        .slice(at, at + changesPerTransaction)
        .map(({ key }): Operation => ({ type: "delete", range: { key } }));
      await reign.write([], deletes);
    }
  }

  /** Ends the reign as soon as the key is lost, or may be. */
  #watchOver(reign: Reign): void {
    const { mirror, logger, controllerId } = this.#options;
    const { epoch } = reign;
    const stopKeeping = this.#key.keep(epoch, {
      unknownMsMax: this.#ttlSeconds * 1000,
      onLost: (why) => reign.end(why),
    });
    const look = (): void => {
      if (mirror.revision < epoch) return;
      if (mirror.get(keys.controller)?.createRevision !== epoch) reign.end("its key is gone");
    };
    const stopWatching = mirror.onChange(look);
    const stopResets = mirror.onReset(() => reign.end("the metadata store is another one"));
    reign.onEnd((why) => {
      stopKeeping();
      stopWatching();
      stopResets();
      const fields = { controller: controllerId, epoch, why };
      // A stop is no news.
      if (this.#closed) logger.debug(fields, "this controller stops");
      else logger.warn(fields, "this controller is not active any more");
      // Frees the key for whoever comes next, if it is still this one's.
      void this.#key.release();
    });
  }

  async #pause(): Promise<void> {
    const { clock, random } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const ms = Math.min(campaignIntervalMsMax, campaignIntervalMs * 2 ** this.#failures);
    const cancel = clock.timer(ms * (0.5 + random.float()), resolve);
    if (this.#closed || this.#hasNews) resolve();
    await promise;
    cancel();
  }
}

/**
 * A registration of a broker or of a group coordinator: a key under a lease, whose create revision
 * is the epoch of the process. A process that has died holds its key until its lease ends, and a
 * new one waits for that. It could delete the key instead, but then two live processes with one id
 * would take it from one another for ever, and no transaction deletes and puts one key.
 */
import type { Cancel, Clock, Logger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { BrokerRecord, CoordinatorRecord } from "@millrace/proto/storage";
import type { KeyValue, MetadataStore } from "./api.ts";
import { decodeRecord, encodeRecord, keys } from "./keys.ts";
import { type Attempt, LeasedKey } from "./leased-key.ts";
import { registerIntervalMs, sessionSeconds } from "./limits.ts";

/** A kind of process that registers. */
export interface RegistrationKind<Registered> {
  /** For people. */
  readonly role: string;
  readonly idOf: (record: Registered) => number;
  readonly keyOf: (id: number) => string;
  readonly encode: (record: Registered) => Uint8Array;
  /** Throws CORRUPT_MESSAGE. */
  readonly decode: (kv: KeyValue) => Registered;
}

export const brokerRegistration: RegistrationKind<BrokerRecord> = {
  role: "broker",
  idOf: ({ brokerId }) => brokerId,
  keyOf: keys.broker,
  encode: encodeRecord.broker,
  decode: decodeRecord.broker,
};

export const coordinatorRegistration: RegistrationKind<CoordinatorRecord> = {
  role: "group coordinator",
  idOf: ({ coordinatorId }) => coordinatorId,
  keyOf: keys.coordinator,
  encode: encodeRecord.coordinator,
  decode: decodeRecord.coordinator,
};

/** What every record of a process says, whatever it registers as. */
type Registered = Pick<BrokerRecord, "incarnationId" | "internalEndpoint">;

export interface RegistrationOptions<Record extends Registered = BrokerRecord> {
  readonly kind: RegistrationKind<Record>;
  readonly store: MetadataStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly record: Record;
  /** Of the lease, whole seconds. Default `sessionSeconds`. */
  readonly ttlSeconds?: number;
  /**
   * Longest wait for the lease of an earlier process with this id, ms. Default: the time of a
   * lease, and half of it more.
   */
  readonly waitMs?: number;
}

/** What one epoch stands for. */
type Fixed = "brokerId" | "coordinatorId" | "incarnationId" | "directoryId";

export class Registration<Record extends Registered = BrokerRecord> {
  readonly #options: RegistrationOptions<Record>;
  readonly #key: LeasedKey;
  #record: Record;
  #epoch = 0;
  #stopKeeping: Cancel = () => {};
  #closed = false;
  #isLast = false;

  constructor(options: RegistrationOptions<Record>) {
    this.#options = options;
    this.#record = options.record;
    const { store, clock, kind, record, ttlSeconds = sessionSeconds } = options;
    const isOwn = (kv: KeyValue): boolean =>
      Buffer.compare(kind.decode(kv).incarnationId, record.incarnationId) === 0;
    this.#key = new LeasedKey({
      ...{ store, clock, ttlSeconds, isOwn, key: kind.keyOf(kind.idOf(record)) },
      heldEpoch: () => this.#epoch,
    });
  }

  /** Epoch of the present registration. 0 before `register`. */
  get epoch(): number {
    return this.#epoch;
  }

  /**
   * Registers, and registers anew, under a new epoch, whenever the registration is lost. Throws
   * INVALID_CONFIG when another process with this id is alive, CANCELLED after `close`.
   */
  async register(): Promise<void> {
    const { clock, ttlSeconds = sessionSeconds } = this.#options;
    const { waitMs = ttlSeconds * 1500 } = this.#options;
    const endMs = clock.monoMs() + waitMs;
    for (;;) {
      this.#checkOpen();
      const attempt = await this.#attempt(clock.monoMs() < endMs);
      if (this.#closed) await this.#key.release();
      this.#checkOpen();
      if (attempt?.createRevision !== undefined) {
        this.#hold(attempt.createRevision);
        return;
      }
      if (clock.monoMs() >= endMs) throw this.#refusal(attempt?.holder);
      await clock.sleep(Math.min(registerIntervalMs, Math.max(1, endMs - clock.monoMs())));
    }
  }

  /** Changes what the others know of this process, such as its addresses. The epoch stays. */
  async update(fields: Partial<Omit<Record, Fixed>>): Promise<void> {
    this.#record = { ...this.#record, ...fields };
    const value = this.#options.kind.encode(this.#record);
    if (await this.#key.replace(this.#epoch, value)) return;
    const text = `${this.#name} has lost its registration: retry`;
    throw new MillraceError(ErrorCode.UNAVAILABLE, text);
  }

  /**
   * The process is about to stop: a registration that is lost from now on stays lost. Whoever finds
   * the listeners closed takes the process for dead, rightly.
   */
  makeLast(): void {
    this.#isLast = true;
  }

  /** Ends the registration at once, and for good. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#stopKeeping();
    await this.#key.release();
  }

  /** For people: `broker 3`. */
  get #name(): string {
    const { kind, record } = this.#options;
    return `${kind.role} ${kind.idOf(record)}`;
  }

  get #fields(): { readonly [role: string]: number } {
    const { kind, record } = this.#options;
    return { [kind.role.replaceAll(" ", "_")]: kind.idOf(record) };
  }

  /** Undefined when the store could not be asked, and may be asked again. */
  async #attempt(mayFail: boolean): Promise<Attempt | undefined> {
    try {
      return await this.#key.tryTake(this.#options.kind.encode(this.#record));
    } catch (thrown) {
      if (mayFail && MillraceError.from(thrown).spec.retriable) return undefined;
      throw thrown;
    }
  }

  #hold(epoch: number): void {
    const { logger } = this.#options;
    this.#epoch = epoch;
    // A process does not fence itself by its clock: it serves until a newer epoch stops it.
    this.#stopKeeping = this.#key.keep(epoch, {
      unknownMsMax: Number.POSITIVE_INFINITY,
      onLost: (why) => {
        if (this.#isLast) return;
        logger.warn({ ...this.#fields, epoch, why }, "the registration is lost: registering anew");
        void this.#registerAgain();
      },
    });
  }

  async #registerAgain(): Promise<void> {
    const { clock, kind, logger } = this.#options;
    while (!this.#closed) {
      try {
        await this.register();
        logger.info({ ...this.#fields, epoch: this.#epoch }, "registered anew");
        return;
      } catch (thrown) {
        if (this.#closed) return;
        logger.error(
          { err: MillraceError.from(thrown) },
          `the ${kind.role} is not registered: trying again`,
        );
        await clock.sleep(registerIntervalMs);
      }
    }
  }

  #checkOpen(): void {
    if (!this.#closed) return;
    const text = `${this.#name} stops: it does not register any more`;
    throw new MillraceError(ErrorCode.CANCELLED, text);
  }

  #refusal(holder: KeyValue | undefined): MillraceError {
    const { kind } = this.#options;
    const where = holder === undefined ? "" : kind.decode(holder).internalEndpoint;
    return new MillraceError(
      ErrorCode.INVALID_CONFIG,
      `another process is ${this.#name}${where === "" ? "" : ` at ${where}`}: ` +
        "stop it, or give this one another id",
    );
  }
}

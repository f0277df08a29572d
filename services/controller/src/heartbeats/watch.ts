/**
 * Watches over the brokers of one reign: hears their beats, dials those whose streams break, and
 * deletes the registrations of those that are dead. What follows from that is the control loop's.
 */
import type { Cancel, Clock, Logger } from "@millrace/env";
import { ErrorCode, formatEndpoint, MillraceError, parseEndpoint } from "@millrace/errors";
import { decodeRecord, keys, type Mirror } from "@millrace/metadata";
import { askHealth, type Dialer, isConnectionRefused } from "@millrace/rpc";
import type { StateMirror } from "../cluster-state.ts";
import { heartbeatLimits, lookIntervalMs } from "../limits.ts";
import type { ControllerMetrics } from "../metrics.ts";
import { callerOf } from "../registered-caller.ts";
import { notController, type Reign } from "../reign.ts";
import { type Fencing, Liveness, type Probe, type Registered } from "./liveness.ts";

export interface BrokerWatchOptions {
  readonly mirror: Mirror;
  readonly state: StateMirror;
  readonly reign: Reign;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Reaches the internal listeners of the brokers. */
  readonly dialer: Dialer;
  readonly metrics: Pick<ControllerMetrics, "onFenced">;
}

/** What a beat tells, if it does. */
export interface Told {
  /** Partitions with a log on the broker's disk. */
  readonly logCount?: number | undefined;
  /** How long records have waited to be committed, the longest, ms. */
  readonly commitLagMs?: number | undefined;
}

/** An open stream. After its end the calls do nothing. */
export interface WatchedStream {
  /** With what the broker tells of itself. */
  beat(told?: Told): void;
  /** The broker said goodbye. */
  leave(): void;
  /** The stream ended in any other way. */
  broke(): void;
  /** This process stops: it watches no more, and ends all streams. */
  endWatch(why: MillraceError): void;
}

interface Session {
  readonly epoch: number;
  readonly stream: number;
  readonly end: (why: MillraceError) => void;
  told: Told;
}

const messages = {
  dead: "a dead broker is fenced: its address refuses connections",
  hung: "a hung broker is fenced: its heartbeats are silent",
} as const;

export class BrokerWatch {
  readonly #options: BrokerWatchOptions;
  readonly #liveness: Liveness;
  readonly #sessions = new Map<number, Session>();
  /** Epochs of registrations that are being deleted, or are deleted and still in the mirror. */
  readonly #fencing = new Map<number, number>();
  #cancelLook: Cancel = () => {};
  #isSparing = false;
  #isOver = false;

  constructor(options: BrokerWatchOptions) {
    this.#options = options;
    const lookGapMsMax = 2 * lookIntervalMs;
    this.#liveness = new Liveness({ ...heartbeatLimits, lookGapMsMax });
    options.reign.onEnd((why) => this.#end(notController(why)));
    this.#look();
  }

  /**
   * A stream of a registered broker, in place of one before. `onEnd` is called when this side ends
   * it. Throws STALE_BROKER_EPOCH.
   */
  open(
    request: { readonly brokerId: number; readonly brokerEpoch: bigint },
    onEnd: (why: MillraceError) => void,
  ): WatchedStream {
    const { clock, state } = this.#options;
    const { brokerId, brokerEpoch: epoch } = callerOf(request, state.current);
    const stream = this.#liveness.opened({ brokerId, epoch }, clock.monoMs());
    const replaced = this.#sessions.get(brokerId);
    const session: Session = { epoch, stream, end: onEnd, told: {} };
    this.#sessions.set(brokerId, session);
    replaced?.end(new MillraceError(ErrorCode.CANCELLED, "the broker has opened another stream"));
    const forget = (): void => {
      if (this.#sessions.get(brokerId)?.stream === stream) this.#sessions.delete(brokerId);
    };
    return {
      beat: (told = {}) => {
        const { commitLagMs, logCount = session.told.logCount } = told;
        session.told = { logCount, commitLagMs };
        this.#liveness.beat(brokerId, stream, clock.monoMs());
      },
      leave: () => {
        this.#liveness.left(brokerId, stream);
        forget();
      },
      broke: () => {
        this.#liveness.broke(brokerId, stream, clock.monoMs());
        forget();
        this.#look();
      },
      endWatch: (why) => this.#end(why),
    };
  }

  /**
   * Partitions with a log on a broker's disk, as it has told last under this registration;
   * undefined before that.
   */
  logCountOf({ brokerId, epoch }: Registered): number | undefined {
    const session = this.#sessions.get(brokerId);
    return session?.epoch === epoch ? session.told.logCount : undefined;
  }

  /** By broker: how long records that it leads have waited, as it has told last, ms. */
  commitLagsMs(): Map<number, number> {
    return new Map(
      [...this.#sessions].flatMap(([id, { told }]): [number, number][] =>
        told.commitLagMs === undefined ? [] : [[id, told.commitLagMs]],
      ),
    );
  }

  #end(why: MillraceError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancelLook();
    for (const { end } of [...this.#sessions.values()]) end(why);
    this.#sessions.clear();
  }

  /** Does what is due, and looks again soon. */
  #look(): void {
    const { clock, reign, state } = this.#options;
    if (this.#isOver) return;
    this.#lookIn(lookIntervalMs);
    const { brokers, revision } = state.current;
    // Brokers that registered before the reign may be missing.
    if (revision < reign.epoch) return;
    this.#endStale(brokers);
    const { fence, probe, spared } = this.#liveness.look(clock.monoMs(), brokers);
    this.#tellSpared(spared);
    for (const one of fence) void this.#fence(one);
    for (const one of probe) void this.#probe(one);
  }

  #lookIn(ms: number): void {
    this.#cancelLook();
    this.#cancelLook = this.#options.clock.timer(ms, () => this.#look());
  }

  #endStale(brokers: ReadonlyMap<number, number>): void {
    for (const [brokerId, epoch] of this.#fencing) {
      if (brokers.get(brokerId) !== epoch) this.#fencing.delete(brokerId);
    }
    for (const [brokerId, { epoch, end }] of this.#sessions) {
      if (brokers.get(brokerId) === epoch) continue;
      this.#sessions.delete(brokerId);
      const text = `broker ${brokerId} is not registered under epoch ${epoch} any more: register anew`;
      end(MillraceError.refusal(ErrorCode.STALE_BROKER_EPOCH, text));
    }
  }

  #tellSpared(brokers: readonly number[]): void {
    const wasSparing = this.#isSparing;
    this.#isSparing = brokers.length > 0;
    if (wasSparing || !this.#isSparing) return;
    const text = "half of the brokers or more seem dead: waiting for their leases to end";
    this.#options.logger.warn({ brokers }, text);
  }

  /** Deletes the registration if neither it nor the reign has changed. Never rejects. */
  async #fence({ brokerId, epoch, why }: Fencing): Promise<void> {
    const { clock, logger, metrics, reign } = this.#options;
    if (this.#fencing.get(brokerId) === epoch) return;
    this.#fencing.set(brokerId, epoch);
    const key = keys.broker(brokerId);
    const same = { key, target: "createRevision", equals: epoch } as const;
    try {
      const { succeeded } = await reign.write([same], [{ type: "delete", range: { key } }]);
      if (!succeeded) return;
      this.#liveness.fenced(brokerId, clock.monoMs());
      metrics.onFenced();
      logger.warn({ broker: brokerId, epoch }, messages[why]);
    } catch (thrown) {
      this.#fencing.delete(brokerId);
      if (!reign.isActive) return;
      const err = MillraceError.from(thrown);
      logger.warn({ broker: brokerId, epoch, err }, "a broker cannot be fenced: trying again");
    }
  }

  /** Never rejects. */
  async #probe(probe: Probe): Promise<void> {
    const isRefused = await this.#isRefused(probe).catch(isConnectionRefused);
    if (this.#isOver) return;
    this.#liveness.probed(probe.brokerId, probe.probe, isRefused, this.#options.clock.monoMs());
    if (isRefused) this.#look();
    else this.#lookIn(heartbeatLimits.probePauseMs);
  }

  /** False for a broker that answers, or tells no address yet. Rejects when it does not answer. */
  async #isRefused({ brokerId, epoch }: Registered): Promise<boolean> {
    const { dialer, mirror } = this.#options;
    const kv = mirror.get(keys.broker(brokerId));
    if (kv === undefined || kv.createRevision !== epoch) return false;
    const address = parseEndpoint(decodeRecord.broker(kv).internalEndpoint);
    if (address === undefined) return false;
    const channel = dialer.dial(formatEndpoint(address), address);
    try {
      await askHealth(channel, heartbeatLimits.probeTimeoutMs);
      return false;
    } finally {
      channel.close();
    }
  }
}

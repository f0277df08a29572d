/**
 * Watches over the maintenance leases of one reign: counts their time, and removes those that have
 * run out once their brokers are back.
 *
 * Safety does not depend on a clock. Time is counted from when this controller has seen the last
 * renewal, which is never earlier than it was written, and a lease that has run out counts against
 * others as before: it goes when its broker is seen in sync, or by hand.
 */
import type { Cancel, Clock, Logger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import { keys } from "@millrace/metadata";
import type { StateMirror } from "../cluster-state.ts";
import { maintenanceLimits } from "../limits.ts";
import type { ControllerMetrics, MaintenanceEvent } from "../metrics.ts";
import type { Reign } from "../reign.ts";
import { notBack } from "./judge.ts";
import { kindName, type LeaseState, takesAway } from "./leases.ts";

export interface MaintenanceWatchOptions {
  readonly state: Pick<StateMirror, "current">;
  readonly reign: Pick<Reign, "isActive" | "onEnd" | "write">;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Pick<ControllerMetrics, "onLeases" | "onMaintenance">;
}

/** A lease as it was written last, and when that was seen. */
interface Seen {
  readonly modRevision: number;
  readonly atMs: number;
  isTold: boolean;
}

export class MaintenanceWatch {
  readonly #options: MaintenanceWatchOptions;
  readonly #seen = new Map<number, Seen>();
  #cancelLook: Cancel = () => {};
  #isOver = false;

  constructor(options: MaintenanceWatchOptions) {
    this.#options = options;
    options.reign.onEnd(() => {
      this.#isOver = true;
      this.#cancelLook();
      options.metrics.onLeases(0, 0);
    });
    this.#look();
  }

  /** Time left; 0: it has run out. */
  remainingMs({ record, modRevision }: LeaseState): number {
    const nowMs = this.#options.clock.monoMs();
    let seen = this.#seen.get(record.brokerId);
    if (seen?.modRevision !== modRevision) {
      seen = { modRevision, atMs: nowMs, isTold: false };
      this.#seen.set(record.brokerId, seen);
    }
    return Math.max(0, Math.ceil(seen.atMs + record.ttlMs - nowMs));
  }

  count(what: MaintenanceEvent): void {
    this.#options.metrics.onMaintenance(what);
  }

  #look(): void {
    const { clock, metrics, state } = this.#options;
    if (this.#isOver) return;
    this.#cancelLook = clock.timer(maintenanceLimits.lookIntervalMs, () => this.#look());
    const { leases } = state.current.maintenance;
    for (const id of this.#seen.keys()) if (!leases.has(id)) this.#seen.delete(id);
    const expired = [...leases.values()].filter((lease) => this.remainingMs(lease) === 0);
    metrics.onLeases(leases.size - expired.length, expired.length);
    for (const lease of expired) {
      this.#tell(lease);
      const { brokerId, kind } = lease.record;
      if (takesAway(kind) && notBack(state.current, brokerId).length > 0) continue;
      void this.#remove(lease);
    }
  }

  #tell({ record, token }: LeaseState): void {
    const seen = this.#seen.get(record.brokerId);
    if (seen === undefined || seen.isTold) return;
    seen.isTold = true;
    this.count("expired");
    const { brokerId: broker, holder } = record;
    const fields = { broker, kind: kindName(record.kind), holder, token };
    this.#options.logger.warn(fields, "a maintenance lease has run out");
  }

  /** Unless it was renewed, or granted anew, meanwhile. Never rejects. */
  async #remove({ record, modRevision }: LeaseState): Promise<void> {
    const { logger, reign } = this.#options;
    const key = keys.maintenanceLease(record.brokerId);
    try {
      const same = { key, target: "modRevision", equals: modRevision } as const;
      await reign.write([same], [{ type: "delete", range: { key } }]);
    } catch (thrown) {
      if (!reign.isActive) return;
      const err = MillraceError.from(thrown);
      const text = "a maintenance lease that has run out cannot be removed: trying again";
      logger.warn({ broker: record.brokerId, err }, text);
    }
  }
}

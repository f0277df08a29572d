/** What the controller counts. `standalone` connects it to the registry; tests pass no-ops. */
export interface ControllerMetrics {
  /** This controller was elected, or is not the active one any more. */
  onReign(active: boolean): void;
  /** Moves of the plan that is carried out, those that wait and those under way; 0 without one. */
  onRebalance(pending: number, ongoing: number): void;
  /** A round was written: records changed or removed, and leaders elected or lost in them. */
  onChanges(changes: number, elections: number): void;
  /** A change was skipped because its key had changed meanwhile. It is decided anew. */
  onConflict(): void;
  /** The registration of a broker was deleted because it is dead or hung. */
  onFenced(): void;
  /** Maintenance leases that are held, and those that have run out and still count. */
  onLeases(held: number, expired: number): void;
  /** What became of a request for a lease, or of a lease. */
  onMaintenance(what: MaintenanceEvent): void;
  /** Writing failed, and is tried again. */
  onFailure(): void;
}

export type MaintenanceEvent = "granted" | "refused" | "released" | "expired";

/** Counts nothing. */
export const noMetrics: ControllerMetrics = {
  onReign() {},
  onRebalance() {},
  onChanges() {},
  onConflict() {},
  onFenced() {},
  onLeases() {},
  onMaintenance() {},
  onFailure() {},
};

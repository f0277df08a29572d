/** Maintenance leases, as the metadata has them. Pure. */
import { decodeRecord, type KeyValue } from "@millrace/metadata";
import { MaintenanceKind } from "@millrace/proto/common";
import type { MaintenanceRecord } from "@millrace/proto/storage";

export interface LeaseState {
  readonly record: MaintenanceRecord;
  /** Revision of the grant: no other lease has the same. */
  readonly token: number;
  readonly modRevision: number;
}

/** All leases, as of one look. */
export interface Maintenance {
  /** Of the key that every grant writes; 0 before the first one. */
  readonly revision: number;
  /** By broker, also those that have run out: they count until they are gone. */
  readonly leases: ReadonlyMap<number, LeaseState>;
}

export const noMaintenance: Maintenance = { revision: 0, leases: new Map() };

/** Throws CORRUPT_MESSAGE. */
export const leaseOf = (kv: KeyValue): LeaseState => {
  const record = decodeRecord.maintenance(kv);
  const token = record.token === 0n ? kv.modRevision : Number(record.token);
  return { record, token, modRevision: kv.modRevision };
};

/** Whether the broker of such a lease is away, or may be at any moment. */
export const takesAway = (kind: MaintenanceKind): boolean =>
  kind === MaintenanceKind.RESTART || kind === MaintenanceKind.REPLACE_DISK;

/** Whether a data directory may be deleted under such a lease. */
export const deletesDirectory = (kind: MaintenanceKind): boolean =>
  kind === MaintenanceKind.REPLACE_DISK || kind === MaintenanceKind.REMOVE;

/** Brokers that are away under a lease, or may be at any moment. */
export const brokersAway = ({ leases }: Maintenance): Set<number> =>
  new Set(
    [...leases.values()]
      .filter(({ record }) => takesAway(record.kind))
      .map(({ record }) => record.brokerId),
  );

/** As it is printed in messages. */
export const kindName = (kind: MaintenanceKind): string =>
  (MaintenanceKind[kind] ?? "unknown").toLowerCase().replaceAll("_", " ");

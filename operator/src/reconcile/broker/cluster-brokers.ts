/** What the operator asks a Millrace cluster about brokers. Errors are `MillraceError`s. */
import type { Broker } from "../../api/index.ts";

export type Intent = Broker["spec"]["intent"];

/** What the holder of a maintenance lease may do, as the status of a Broker names it. */
export type LeaseKind = NonNullable<NonNullable<Broker["status"]>["maintenanceLease"]>["kind"];

/** A broker as the active controller knows it. */
export interface FoundBroker {
  readonly brokerId: number;
  readonly isRegistered: boolean;
  /** 0 where it is not registered. */
  readonly brokerEpoch: number;
  /** 32 hexadecimal digits; absent where it is not known. */
  readonly directoryId?: string;
  /** Empty where it has none. */
  readonly rack: string;
  readonly intent: Intent;
  /** Partitions with a replica on it, those that move away included. */
  readonly replicas: number;
  readonly leaders: number;
  /** Of a draining broker: partitions that no other broker can take. */
  readonly immovable: number;
  /** Partitions whose logs may be on its disk though it has no replica of them any more. */
  readonly leftovers: number;
}

export interface LeaseWish {
  readonly brokerId: number;
  readonly kind: LeaseKind;
  /** For people. */
  readonly reason: string;
  /** For Restart: the registration that the caller means; 0 where there is none. */
  readonly brokerEpoch?: number;
  /** For ReplaceDisk and Remove: the data directory that is to be deleted. */
  readonly directoryId?: string;
  /** For Restart: partitions that can never spare a replica may be without writes meanwhile. */
  readonly allowUnavailable?: boolean;
  /** Judges, and grants nothing. */
  readonly validateOnly?: boolean;
}

export interface FoundLease {
  readonly token: number;
  readonly grantedAtMs: number;
}

export interface LeaseAnswer {
  /** Absent where it was refused, or only judged. */
  readonly lease?: FoundLease;
  readonly mayAct: boolean;
  /** What is in the way, for people: the first 20. */
  readonly blockers: readonly string[];
}

/** A lease that somebody holds. */
export interface HeldLease {
  readonly brokerId: number;
  readonly token: number;
}

export interface ClusterBrokers {
  /** Every broker that is registered, has an intent other than Active, or is named by metadata. */
  describe(): Promise<readonly FoundBroker[]>;
  /** As `MaintenanceService` has it. A repeated call is a renewal. */
  acquire(wish: LeaseWish): Promise<LeaseAnswer>;
  /** Throws MAINTENANCE_LEASE_LOST. */
  renew(held: HeldLease): Promise<LeaseAnswer>;
  /** `blockers` is empty once it is released. Throws MAINTENANCE_LEASE_LOST. */
  release(held: HeldLease): Promise<{ readonly blockers: readonly string[] }>;
  /** Throws REASSIGNMENT_IN_PROGRESS for the end of a broker that still has something. */
  setIntent(brokerId: number, intent: Intent): Promise<void>;
}

/** Leases and what is in their way, as answers have them. */
import { create } from "@bufbuild/protobuf";
import {
  type MaintenanceBlocker,
  MaintenanceBlockerSchema,
  type MaintenanceLease,
  MaintenanceLeaseSchema,
} from "@millrace/proto/controller";
import { maintenanceLimits as limits } from "../limits.ts";
import type { Blocker } from "./judge.ts";
import type { LeaseState } from "./leases.ts";

export const leaseMessage = ({ record, token }: LeaseState, leftMs: number): MaintenanceLease =>
  create(MaintenanceLeaseSchema, {
    ...{ brokerId: record.brokerId, kind: record.kind, holder: record.holder },
    ...{ reason: record.reason, token: BigInt(token), brokerEpoch: record.brokerEpoch },
    ...{ directoryId: record.directoryId, ttlMs: record.ttlMs, grantedAtMs: record.grantedAtMs },
    expiresInMs: leftMs,
  });

/** The first of them. */
export const blockerMessages = (blockers: readonly Blocker[]): MaintenanceBlocker[] =>
  blockers.slice(0, limits.blockersMax).map((one) => create(MaintenanceBlockerSchema, one));

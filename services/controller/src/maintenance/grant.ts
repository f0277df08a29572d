/** The transaction of a grant: what it writes, and what must be as it was judged. */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { type Compare, encodeRecord, keys, type Operation } from "@millrace/metadata";
import { BrokerIntent, MaintenanceKind } from "@millrace/proto/common";
import { BrokerIntentRecordSchema, type MaintenanceRecord } from "@millrace/proto/storage";
import type { ClusterState } from "../cluster-state.ts";
import { maintenanceLimits as limits } from "../limits.ts";
import { isRetired, unchangedPlacement } from "../placement.ts";
import { deletesDirectory } from "./leases.ts";

/** A broker as it is registered: 0 is not at all. */
export interface Registered {
  readonly epoch: number;
  readonly directoryId: Uint8Array;
}

const notPutSince = (prefix: string, revision: number): Compare => ({
  ...{ prefix, target: "modRevision", below: revision + 1 },
});

/**
 * That everything is as it was judged: every partition and its in-sync replicas, the configs of the
 * topics, all other leases, the broker's registration, and all intents. Of what was removed since,
 * nothing is in the way.
 */
export const asJudged = (
  { placement, revision }: ClusterState,
  brokerId: number,
  registered: Registered,
): Compare[] => [
  notPutSince(keys.partitions, revision),
  notPutSince(keys.topics, revision),
  notPutSince(keys.maintenanceLeases, revision),
  { key: keys.broker(brokerId), target: "createRevision", equals: registered.epoch },
  unchangedPlacement(placement),
];

/** The intent that goes with a grant, or undefined where it stays. Throws INVALID_REQUEST. */
const intentWith = (
  { placement }: ClusterState,
  { brokerId, directoryId, kind }: MaintenanceRecord,
  registered: Registered,
) => {
  const before =
    placement.intents.get(brokerId) ??
    create(BrokerIntentRecordSchema, { brokerId, intent: BrokerIntent.ACTIVE });
  if (kind === MaintenanceKind.DRAIN) {
    if (before.intent === BrokerIntent.DRAINING) return undefined;
    const known = registered.directoryId.length > 0 ? registered.directoryId : before.directoryId;
    return { ...before, intent: BrokerIntent.DRAINING, directoryId: known };
  }
  if (!deletesDirectory(kind) || isRetired(before, directoryId)) return undefined;
  const retiredDirectoryIds = [...before.retiredDirectoryIds, directoryId];
  if (retiredDirectoryIds.length <= limits.retiredDirectoriesMax) {
    return { ...before, retiredDirectoryIds };
  }
  throw new MillraceError(
    ErrorCode.INVALID_REQUEST,
    `broker ${brokerId} has given up ${limits.retiredDirectoriesMax} data directories: ` +
      "give its replicas to a broker with another number",
  );
};

/**
 * What a grant writes. One that lets a data directory be deleted gives it up in the same
 * transaction: whoever registers with it afterwards is no broker any more. One of DRAIN begins it.
 */
export const grantOperations = (
  state: ClusterState,
  record: MaintenanceRecord,
  registered: Registered,
): Operation[] => {
  const key = keys.maintenanceLease(record.brokerId);
  const operations: Operation[] = [
    { type: "put", key, value: encodeRecord.maintenance(record) },
    { type: "put", key: keys.maintenance, value: new Uint8Array(0) },
  ];
  const intent = intentWith(state, record, registered);
  if (intent === undefined) return operations;
  const value = encodeRecord.brokerIntent(intent);
  return [
    ...operations,
    { type: "put", key: keys.brokerIntent(record.brokerId), value },
    { type: "put", key: keys.placement, value: new Uint8Array(0) },
  ];
};

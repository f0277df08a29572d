/** Settings of a group coordinator. */
import type { Schema } from "@millrace/config";
import {
  admissionSettings,
  advertiseSettings,
  clusterIdSettings,
  duration,
  etcdSettings,
  identity,
  internalAdvertiseSettings,
  listenerSettings,
  loggingSettings,
  text,
} from "@millrace/server/node";

const dayMs = 24 * 3600 * 1000;

/** A group coordinator: one schema for flags, environment, file, help and reference. */
export const groupCoordinatorSchema = {
  "coordinator-id": identity("Number of this group coordinator, one in the cluster."),
  "data-dir": text(
    /^.*$/s,
    "a path, or empty for none",
    "",
    "Directory of endpoints.json and of cluster-id, by which a group coordinator knows its cluster " +
      "again. All else is in the cluster's log.",
  ),
  ...listenerSettings,
  ...advertiseSettings,
  ...internalAdvertiseSettings,
  ...clusterIdSettings,
  ...etcdSettings,
  ...loggingSettings,
  "offsets-retention": duration(
    60_000,
    3650 * dayMs,
    7 * dayMs,
    "Committed offsets are kept this long after the last member of their group has left.",
  ),
  ...admissionSettings,
} as const satisfies Schema;

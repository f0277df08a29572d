/** Waiting for the view of the cluster to reach what a client has seen elsewhere. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { limits } from "../limits.ts";
import type { ClusterView } from "./view.ts";

/** Throws METADATA_STALE when the view does not reach the revision in time. */
export const requireRevision = async (view: ClusterView, revision: bigint): Promise<void> => {
  const wanted = Number(revision);
  if (view.current.revision >= wanted) return;
  if (await view.waitForRevision(wanted, limits.metadataWaitMsMax)) return;
  throw new MillraceError(
    ErrorCode.METADATA_STALE,
    `the metadata here is at revision ${view.current.revision}, not yet ${wanted}: retry`,
  );
};

/** Which broker calls, and whether its registration is the present one. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { Caller } from "./alter-partition.ts";
import type { ClusterState } from "./cluster-state.ts";

/** Throws STALE_BROKER_EPOCH. */
export const callerOf = (
  request: { readonly brokerId: number; readonly brokerEpoch: bigint },
  { brokers }: Pick<ClusterState, "brokers">,
): Caller => {
  const { brokerId } = request;
  const brokerEpoch = brokers.get(brokerId);
  if (brokerEpoch !== undefined && BigInt(brokerEpoch) === request.brokerEpoch) {
    return { brokerId, brokerEpoch };
  }
  const known = brokerEpoch === undefined ? "not registered" : `registered under ${brokerEpoch}`;
  throw MillraceError.refusal(
    ErrorCode.STALE_BROKER_EPOCH,
    `broker ${brokerId} is ${known}, not under epoch ${request.brokerEpoch}: ` +
      "retry under the present registration",
  );
};

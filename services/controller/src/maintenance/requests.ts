/** What a request for a maintenance lease says, checked. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { MaintenanceKind } from "@millrace/proto/common";
import type { AcquireMaintenanceRequest } from "@millrace/proto/controller";
import { maintenanceLimits as limits } from "../limits.ts";
import type { Wanted } from "./judge.ts";
import { deletesDirectory, kindName } from "./leases.ts";

export interface CheckedRequest extends Wanted {
  readonly holder: string;
  readonly reason: string;
  readonly ttlMs: number;
  /** As the caller believes; 0: not registered. Undefined: any. */
  readonly brokerEpoch: number | undefined;
  readonly validateOnly: boolean;
}

const invalid = (message: string): MillraceError =>
  MillraceError.refusal(ErrorCode.INVALID_REQUEST, message);

const kinds: readonly MaintenanceKind[] = [
  ...[MaintenanceKind.RESTART, MaintenanceKind.DRAIN],
  ...[MaintenanceKind.REPLACE_DISK, MaintenanceKind.REMOVE],
];

const checkText = (name: string, text: string, max: number): void => {
  if (text.length > max) throw invalid(`${name} has ${text.length} characters, at most ${max}`);
  // It is printed on terminals.
  if (/\p{Cc}/u.test(text)) throw invalid(`${name} has control characters: leave them out`);
};

const checkDirectory = ({ kind, directoryId: { length } }: AcquireMaintenanceRequest): void => {
  if (deletesDirectory(kind)) {
    if (length === 16) return;
    throw invalid(
      `${kindName(kind)} deletes a data directory, and its id has ${length} bytes: send the 16 of ` +
        "millrace broker describe",
    );
  }
  if (length === 0) return;
  throw invalid(`${kindName(kind)} deletes no data directory: send no directory_id`);
};

/** Throws INVALID_REQUEST. */
export const checkedRequest = (request: AcquireMaintenanceRequest): CheckedRequest => {
  const { allowUnavailable, brokerEpoch, brokerId, directoryId, holder, kind, reason } = request;
  if (!kinds.includes(kind)) throw invalid(`maintenance kind ${kind} is none: see MaintenanceKind`);
  if (holder === "") throw invalid("no holder: send a name that nobody else uses");
  checkText("holder", holder, limits.holderLengthMax);
  checkText("reason", reason, limits.reasonLengthMax);
  const { ttlMsDefault, ttlMsMax, ttlMsMin } = limits;
  const ttlMs = request.ttlMs === 0 ? ttlMsDefault : request.ttlMs;
  if (ttlMs < ttlMsMin || ttlMs > ttlMsMax) {
    throw invalid(`ttl_ms ${ttlMs} is not allowed: use ${ttlMsMin} to ${ttlMsMax}`);
  }
  checkDirectory(request);
  if (kind === MaintenanceKind.RESTART && brokerEpoch === undefined) {
    throw invalid("a restart is about one registration: send broker_epoch, 0 for a broker without");
  }
  if (allowUnavailable && kind !== MaintenanceKind.RESTART) {
    throw invalid(`allow_unavailable is for restarts: ${kindName(kind)} has no use for it`);
  }
  return {
    ...{ brokerId, kind, directoryId, allowUnavailable, holder, reason, ttlMs },
    brokerEpoch: brokerEpoch === undefined ? undefined : Number(brokerEpoch),
    validateOnly: request.validateOnly,
  };
};

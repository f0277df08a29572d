/** Statuses and request metadata as grpc-js has them. */
import { Metadata, type ServiceError, type StatusObject, status } from "@grpc/grpc-js";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { ConnectionError } from "../connection-error.ts";
import { fromWireStatus, toWireStatus } from "../status.ts";
import { asBuffer } from "./duplex.ts";

const detailsKey = "grpc-status-details-bin";

/** The status that a server ends a call with. */
export const statusOf = (thrown: unknown): Partial<StatusObject> & { code: number } => {
  const { code, message, details } = toWireStatus(thrown);
  const metadata = new Metadata();
  if (details !== undefined) metadata.set(detailsKey, asBuffer(details));
  return { code, details: message, metadata };
};

/**
 * The error of a call that failed. `explain` makes the text of one whose server has not said why.
 */
export const errorOf = (
  error: Pick<ServiceError, "code" | "details" | "metadata">,
  explain: (text: string) => string = (text) => text,
): MillraceError => {
  const [details] = error.metadata?.get(detailsKey) ?? [];
  // grpc-js tells the errno of a connection that it could not make in the text alone.
  const refused = error.code === status.UNAVAILABLE && /\bECONNREFUSED\b/.test(error.details);
  if (refused && details === undefined) {
    const cause = new ConnectionError("refused", error.details);
    return new MillraceError(ErrorCode.UNAVAILABLE, explain(error.details), { cause });
  }
  return fromWireStatus({
    code: error.code,
    message: details === undefined ? explain(error.details) : error.details,
    details: typeof details === "string" ? undefined : details,
  });
};

/** Request metadata with ASCII values. */
export const toMap = (metadata: Metadata): ReadonlyMap<string, string> => {
  const map = new Map<string, string>();
  for (const [key, value] of Object.entries(metadata.getMap())) {
    if (typeof value === "string") map.set(key, value);
  }
  return map;
};

export const fromMap = (map: ReadonlyMap<string, string> | undefined): Metadata => {
  const metadata = new Metadata();
  for (const [key, value] of map ?? []) metadata.set(key, value);
  return metadata;
};

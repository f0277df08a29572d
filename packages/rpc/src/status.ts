/**
 * Errors on the wire: a gRPC status, and in `grpc-status-details-bin` a `google.rpc.Status` with
 * ErrorInfo and RetryInfo (AIP-193). Carriers translate with these two functions only.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { anyIs, anyPack, anyUnpack, DurationSchema } from "@bufbuild/protobuf/wkt";
import {
  type Endpoint,
  type ErrorAdvice,
  ErrorCode,
  type ErrorSpec,
  errorCodeByName,
  errorSpec,
  formatEndpoint,
  type LeaderHint,
  MillraceError,
  parseEndpoint,
} from "@millrace/errors";
import {
  type ErrorInfo,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "../gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../gen/google/rpc/status_pb.js";

/** `ErrorInfo.domain` of our errors. */
export const ERROR_DOMAIN = "millrace.dev";

/** A failure on the wire. */
export interface WireStatus {
  readonly code: number;
  readonly message: string;
  /** Serialized `google.rpc.Status`, or nothing from a foreign server or proxy. */
  readonly details: Uint8Array | undefined;
}

/**
 * Longest text of an error on the wire, bytes. Errors are headers: some peers limit all of them to
 * 8 KiB, and the text is there twice, once percent-encoded.
 */
export const errorTextBytesMax = 1000;

/** The text, short enough and well-formed. */
const clipped = (text: string): string => {
  const bytes = Buffer.from(text);
  if (bytes.length <= errorTextBytesMax) return text.toWellFormed();
  return `${bytes.toString("utf8", 0, errorTextBytesMax).replace(/\ufffd+$/, "")}…`;
};

const hintFacts = (error: MillraceError): Record<string, string> => {
  const hint = error.leaderHint;
  if (hint === undefined) return {};
  return {
    leader_broker_id: String(hint.brokerId),
    leader_epoch: String(hint.leaderEpoch),
    metadata_revision: String(hint.metadataRevision),
    ...endpointFacts(hint.endpoint),
  };
};

/** Where the log, or a key in it, has got to. */
const actualFacts = (error: MillraceError): Record<string, string> => {
  const { actualEndOffset: end, actualLastOffsetForKey: last } = error;
  return {
    ...(end === undefined ? {} : { actual_end_offset: String(end) }),
    ...(last === undefined ? {} : { actual_last_offset_for_key: String(last) }),
  };
};

/** An endpoint in the words of `LeaderHint.endpoint`; what is empty or false there is left out. */
const endpointFacts = (endpoint: Endpoint | undefined): Record<string, string> => {
  if (endpoint === undefined) return {};
  const { listener, tls, authority } = endpoint;
  return {
    leader_endpoint: formatEndpoint(endpoint),
    ...(listener === "" ? {} : { leader_listener: listener }),
    ...(tls ? { leader_tls: "true" } : {}),
    ...(authority === "" ? {} : { leader_authority: authority }),
  };
};

const ownFacts = (error: MillraceError): Record<string, string> => ({
  ...{ ...error.facts, ...hintFacts(error), ...actualFacts(error) },
});

/** For clients that do not know the code. */
const adviceFacts = (advice: ErrorAdvice): Record<string, string> => ({
  retriable: String(advice.retriable),
  refresh_metadata: String(advice.refreshMetadata),
  side_effects: String(advice.sideEffects),
});

/** The status of an error. The text of an unexpected one stays on the server. */
export const toWireStatus = (thrown: unknown): WireStatus => {
  const error = MillraceError.from(thrown);
  const unexpected = error.code === ErrorCode.INTERNAL;
  const message = unexpected ? "an unexpected error: see the server's log" : clipped(error.message);
  const details = [
    anyPack(
      ErrorInfoSchema,
      create(ErrorInfoSchema, {
        reason: error.codeName,
        domain: ERROR_DOMAIN,
        metadata: { ...ownFacts(error), ...adviceFacts(error.spec) },
      }),
    ),
  ];
  if (error.retryAfterMs !== undefined) {
    const retryDelay = create(DurationSchema, {
      seconds: BigInt(Math.floor(error.retryAfterMs / 1000)),
      nanos: Math.round((error.retryAfterMs % 1000) * 1e6),
    });
    details.push(anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay })));
  }
  const code = error.spec.grpcCode;
  const status = create(StatusSchema, { code, message, details });
  return { code, message, details: toBinary(StatusSchema, status) };
};

/** Codes for statuses without our details: a proxy, a foreign server, or the transport itself. */
const codeOfPlainStatus = (status: WireStatus): ErrorCode => {
  switch (status.code) {
    case 1:
      return ErrorCode.CANCELLED;
    case 3:
      return ErrorCode.INVALID_REQUEST;
    case 4:
      return ErrorCode.DEADLINE_EXCEEDED;
    case 8:
      return /larger than/i.test(status.message)
        ? ErrorCode.MESSAGE_TOO_LARGE
        : ErrorCode.ADMISSION_REJECTED;
    case 12:
      return ErrorCode.UNSUPPORTED_OPERATION;
    case 14:
      return ErrorCode.UNAVAILABLE;
    default:
      // INTERNAL and UNKNOWN also mean a stream that broke in the middle: the outcome is unknown.
      return ErrorCode.UNAVAILABLE;
  }
};

const hintOf = (facts: Readonly<Record<string, string>>): LeaderHint | undefined => {
  const { leader_broker_id, leader_epoch, metadata_revision } = facts;
  if (leader_broker_id === undefined) return undefined;
  if (!/^[0-9]{1,20}$/.test(metadata_revision ?? "")) return undefined;
  return {
    brokerId: Number(leader_broker_id),
    leaderEpoch: Number(leader_epoch ?? 0),
    endpoint: endpointOf(facts),
    metadataRevision: BigInt(metadata_revision ?? 0),
  };
};

const endpointOf = (facts: Readonly<Record<string, string>>): Endpoint | undefined => {
  const { leader_endpoint, leader_listener, leader_tls, leader_authority } = facts;
  const address = parseEndpoint(leader_endpoint ?? "");
  if (address === undefined) return undefined;
  const tls = leader_tls === "true";
  return { ...address, listener: leader_listener ?? "", tls, authority: leader_authority ?? "" };
};

/** Details of a mismatch; what is damaged is left out. */
const actualOf = (facts: Readonly<Record<string, string>>) => {
  const { actual_end_offset: end = "", actual_last_offset_for_key: last = "" } = facts;
  return {
    ...(/^[0-9]{1,20}$/.test(end) ? { actualEndOffset: BigInt(end) } : {}),
    ...(/^(-1|[0-9]{1,19})$/.test(last) ? { actualLastOffsetForKey: BigInt(last) } : {}),
  };
};

/** As AIP-193 has reasons. */
const reasonFormat = /^[A-Z][A-Z0-9_]{0,62}$/;

/** What a newer server says about a code that has no number here; undefined if it says nothing. */
const unknownSpec = ({ reason, metadata }: ErrorInfo, grpcCode: number): ErrorSpec | undefined => {
  const { retriable, refresh_metadata, side_effects } = metadata;
  if (retriable === undefined || !reasonFormat.test(reason)) return undefined;
  return {
    name: reason,
    grpcCode,
    retriable: retriable === "true",
    refreshMetadata: refresh_metadata === "true",
    sideEffects: side_effects !== "false",
  };
};

/** The error that a status stands for. Never throws: damaged details count as none. */
export const fromWireStatus = (status: WireStatus): MillraceError => {
  let code = codeOfPlainStatus(status);
  let facts: Readonly<Record<string, string>> | undefined;
  let spec: ErrorSpec | undefined;
  let retryAfterMs: number | undefined;
  try {
    const parsed = fromBinary(StatusSchema, status.details ?? new Uint8Array());
    for (const detail of parsed.details) {
      const info = anyIs(detail, ErrorInfoSchema) ? anyUnpack(detail, ErrorInfoSchema) : undefined;
      if (info?.domain === ERROR_DOMAIN) {
        const known = errorCodeByName(info.reason);
        spec = known === undefined ? unknownSpec(info, status.code) : undefined;
        code = spec === undefined ? (known ?? code) : ErrorCode.UNSPECIFIED;
        facts = info.metadata;
      }
      const retry = anyIs(detail, RetryInfoSchema) ? anyUnpack(detail, RetryInfoSchema) : undefined;
      if (retry?.retryDelay !== undefined) {
        retryAfterMs = Number(retry.retryDelay.seconds) * 1000 + retry.retryDelay.nanos / 1e6;
      }
    }
  } catch {
    // Damaged details: the status says enough.
  }
  const leaderHint = facts === undefined ? undefined : hintOf(facts);
  const message =
    status.message === "" ? (spec ?? errorSpec(code)).name.toLowerCase() : status.message;
  return new MillraceError(code, message, {
    ...(facts === undefined ? {} : { facts }),
    ...(spec === undefined ? {} : { spec }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(leaderHint === undefined ? {} : { leaderHint }),
    ...(facts === undefined ? {} : actualOf(facts)),
  });
};

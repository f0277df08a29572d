import { getOption } from "@bufbuild/protobuf";
import { ErrorCode, ErrorCodeSchema, error_spec } from "@millrace/proto/common";

export { ErrorCode };

/** What a caller may do after an error. Every error says this on the wire, too. */
export interface ErrorAdvice {
  /** The same request may succeed later, unchanged. */
  readonly retriable: boolean;
  /** Refresh the metadata before a retry. */
  readonly refreshMetadata: boolean;
  /** The request may have had an effect although it failed. */
  readonly sideEffects: boolean;
}

/** The annotations of an `ErrorCode` in `errors.proto`. */
export interface ErrorSpec extends ErrorAdvice {
  /** `ErrorCode` name without its prefix: what `error: CODE` and `ErrorInfo.reason` show. */
  readonly name: string;
  /** Canonical gRPC status code. */
  readonly grpcCode: number;
}

const build = (): ReadonlyMap<ErrorCode, ErrorSpec> => {
  const table = new Map<ErrorCode, ErrorSpec>();
  for (const value of ErrorCodeSchema.values) {
    const spec = getOption(value, error_spec);
    table.set(value.number as ErrorCode, {
      name: value.name.replace(/^ERROR_CODE_/, ""),
      grpcCode: spec.grpcCode,
      retriable: spec.retriable,
      refreshMetadata: spec.refreshMetadata,
      sideEffects: spec.sideEffects,
    });
  }
  return table;
};

/** Every known code with its annotations. */
export const errorTable: ReadonlyMap<ErrorCode, ErrorSpec> = build();

/** True for a code whose annotations this version has. Others come from newer peers. */
export const isKnownCode = (code: ErrorCode): boolean =>
  code !== ErrorCode.UNSPECIFIED && errorTable.has(code);

/**
 * Annotations of a code. One that this version does not know is not retriable and may have had side
 * effects, unless its sender says otherwise: see `MillraceError.spec`.
 */
export const errorSpec = (code: ErrorCode): ErrorSpec =>
  errorTable.get(code) ?? {
    name: `UNKNOWN_${code}`,
    grpcCode: 2,
    retriable: false,
    refreshMetadata: false,
    sideEffects: true,
  };

/** Code of a name such as `NOT_LEADER`, or undefined. */
export const errorCodeByName = (name: string): ErrorCode | undefined => {
  for (const [code, spec] of errorTable) {
    if (spec.name === name) return code;
  }
  return undefined;
};

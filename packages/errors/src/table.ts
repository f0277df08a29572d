import { getOption } from "@bufbuild/protobuf";
import { ErrorCode, ErrorCodeSchema, error_spec } from "@millrace/proto/common";

export { ErrorCode };

/** What a caller may do with an error; the annotations of `ErrorCode` in `errors.proto`. */
export interface ErrorSpec {
  /** `ErrorCode` name without its prefix: what `error: CODE` and `ErrorInfo.reason` show. */
  readonly name: string;
  /** Canonical gRPC status code. */
  readonly grpcCode: number;
  readonly retriable: boolean;
  readonly refreshMetadata: boolean;
  readonly sideEffects: boolean;
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

/**
 * Annotations of a code. A code of a newer server is not retriable and may have had side effects.
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

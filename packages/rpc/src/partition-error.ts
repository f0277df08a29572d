/** Errors of one partition inside an answer. */
import { create } from "@bufbuild/protobuf";
import { type LeaderHint, MillraceError } from "@millrace/errors";
import { type PartitionError, PartitionErrorSchema } from "@millrace/proto/common";

const hintMessage = ({ endpoint, ...hint }: LeaderHint) => ({
  ...hint,
  ...(endpoint === undefined ? {} : { endpoint }),
});

/** An error of one partition as the generated message. */
export const partitionError = (thrown: unknown): PartitionError => {
  const error = MillraceError.from(thrown);
  const { retriable, refreshMetadata, sideEffects } = error.spec;
  return create(PartitionErrorSchema, {
    code: error.code,
    message: error.message,
    ...{ retriable, refreshMetadata, sideEffects },
    ...(error.leaderHint === undefined ? {} : { leaderHint: hintMessage(error.leaderHint) }),
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
    ...(error.actualEndOffset === undefined ? {} : { actualEndOffset: error.actualEndOffset }),
    ...(error.actualLastOffsetForKey === undefined
      ? {}
      : { actualLastOffsetForKey: error.actualLastOffsetForKey }),
  });
};

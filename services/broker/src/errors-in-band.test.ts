/** Errors inside messages say what a client may do that does not know their code. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ErrorAdvice, ErrorCode, errorTable, MillraceError } from "@millrace/errors";
import { partitionError } from "@millrace/rpc";
import { wirePartitionError } from "./produce/appender.ts";

const adviceOf = ({ retriable, refreshMetadata, sideEffects }: ErrorAdvice) => ({
  ...{ retriable, refreshMetadata, sideEffects },
});

test("every code carries its annotations, on streams and in calls", () => {
  for (const [code, spec] of errorTable) {
    const error = new MillraceError(code, "m");
    assert.deepEqual(adviceOf(wirePartitionError(error)), adviceOf(spec), spec.name);
    assert.deepEqual(adviceOf(partitionError(error)), adviceOf(spec), spec.name);
  }
});

test("a leader hint carries the endpoint as it is, and none where none is known", () => {
  const endpoint = { host: "::1", port: 7400, listener: "l", tls: true, authority: "a" };
  const hint = { brokerId: 2, leaderEpoch: 3, metadataRevision: 4n };
  const [code = 0] = errorTable.keys();
  const told = new MillraceError(code, "m", { leaderHint: { ...hint, endpoint } });
  assert.deepEqual(wirePartitionError(told).leaderHint?.endpoint, endpoint);
  const { $typeName: _, ...message } = partitionError(told).leaderHint?.endpoint ?? {};
  assert.deepEqual(message, endpoint);
  const silent = new MillraceError(code, "m", { leaderHint: { ...hint, endpoint: undefined } });
  assert.equal(partitionError(silent).leaderHint?.endpoint, undefined);
});

test("a mismatch says where the log ends, on streams and in calls", () => {
  const error = new MillraceError(ErrorCode.END_OFFSET_MISMATCH, "m", { actualEndOffset: 42n });
  assert.equal(wirePartitionError(error).actualEndOffset, 42);
  assert.equal(partitionError(error).actualEndOffset, 42n);
  assert.equal(wirePartitionError(new MillraceError(49, "m")).actualEndOffset, undefined);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { ErrorCode, errorTable, MillraceError } from "@millrace/errors";
import { ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../gen/google/rpc/status_pb.js";
import { fromWireStatus, toWireStatus } from "./status.ts";

test("an error arrives as it was sent: code, text, facts, hint, pause", () => {
  const endpoint = { host: "::1", port: 1, listener: "l", tls: true, authority: "b.example" };
  const leaderHint = { brokerId: 3, leaderEpoch: 7, endpoint, metadataRevision: 9n };
  for (const retryAfterMs of [1, 999, 1000, 1500, 90_001]) {
    const facts = { limit: "streams" };
    const sent = new MillraceError(ErrorCode.NOT_LEADER, "not here", {
      ...{ leaderHint, retryAfterMs, facts },
    });
    const back = fromWireStatus(toWireStatus(sent));
    assert.deepEqual(
      [back.code, back.message, back.leaderHint, back.retryAfterMs, back.facts?.["limit"]],
      [ErrorCode.NOT_LEADER, "not here", leaderHint, retryAfterMs, "streams"],
    );
  }
});

test("an error says where a log ends, and one with a damaged end does not", () => {
  const actualEndOffset = 2n ** 53n - 1n;
  const sent = new MillraceError(ErrorCode.END_OFFSET_MISMATCH, "m", { actualEndOffset });
  const back = fromWireStatus(toWireStatus(sent));
  assert.deepEqual(
    [back.code, back.actualEndOffset, back.facts?.["actual_end_offset"]],
    [ErrorCode.END_OFFSET_MISMATCH, actualEndOffset, "9007199254740991"],
  );
  for (const damaged of ["", "-1", "1e3", "0x10", "9".repeat(21)]) {
    const told = errorFrom("END_OFFSET_MISMATCH", { actual_end_offset: damaged });
    assert.equal(told.actualEndOffset, undefined, damaged);
  }
});

test("what is unexpected tells nothing but that it happened", () => {
  const wire = toWireStatus(new TypeError("the password is swordfish"));
  assert.equal(fromWireStatus(wire).code, ErrorCode.INTERNAL);
  assert.ok(
    !JSON.stringify([wire.message, Buffer.from(wire.details ?? []).toString()]).includes(
      "swordfish",
    ),
  );
});

test("details of another domain, and damaged ones, are not taken for ours", () => {
  const info = create(ErrorInfoSchema, { reason: "DISK_FULL", domain: "other.example" });
  const status = create(StatusSchema, { code: 14, details: [anyPack(ErrorInfoSchema, info)] });
  const details = toBinary(StatusSchema, status);
  assert.equal(fromWireStatus({ code: 14, message: "m", details }).code, ErrorCode.UNAVAILABLE);
  const damaged = Buffer.from("ff", "hex");
  assert.equal(
    fromWireStatus({ code: 4, message: "m", details: damaged }).code,
    ErrorCode.DEADLINE_EXCEEDED,
  );
});

test("every error says what a caller may do, known or not", () => {
  for (const [code, spec] of errorTable) {
    if (code === ErrorCode.UNSPECIFIED) continue;
    const { facts, spec: back } = fromWireStatus(toWireStatus(new MillraceError(code, "m")));
    assert.deepEqual(
      [facts?.["retriable"], facts?.["refresh_metadata"], facts?.["side_effects"]],
      [spec.retriable, spec.refreshMetadata, spec.sideEffects].map(String),
    );
    assert.deepEqual(back, spec);
  }
});

/** The error of a status whose ErrorInfo has this reason and metadata. */
const errorFrom = (reason: string, metadata: Record<string, string>): MillraceError => {
  const info = create(ErrorInfoSchema, { reason, domain: "millrace.dev", metadata });
  const status = create(StatusSchema, { code: 8, details: [anyPack(ErrorInfoSchema, info)] });
  return fromWireStatus({ code: 8, message: "", details: toBinary(StatusSchema, status) });
};

test("a reason without a number here is judged by what comes with it", () => {
  const told = errorFrom("QUOTA_OF_2031", { retriable: "true", side_effects: "false" });
  assert.equal(told.message, "quota_of_2031");
  assert.deepEqual(told.spec, {
    ...{ name: "QUOTA_OF_2031", grpcCode: 8 },
    ...{ retriable: true, refreshMetadata: false, sideEffects: false },
  });
  // What is not said may have had an effect.
  assert.equal(errorFrom("QUOTA_OF_2031", { retriable: "false" }).spec.sideEffects, true);
  // Nothing said, or no name that can be shown: the gRPC code says what there is to know.
  for (const [reason, metadata] of [
    ["QUOTA_OF_2031", {}],
    ["evil\u001b[2J", { retriable: "true" }],
  ] as const) {
    assert.equal(errorFrom(reason, metadata).code, ErrorCode.ADMISSION_REJECTED);
  }
});

test("what a known code means is not for the sender to say", () => {
  const { spec } = errorFrom("INVALID_REQUEST", { retriable: "true", side_effects: "true" });
  assert.deepEqual([spec.retriable, spec.sideEffects], [false, false]);
});

test("texts of errors fit the headers of any peer, and can be encoded, whatever is in them", () => {
  const texts = ["x".repeat(100_000), "😀".repeat(999), "a\ud800b", "\udc00".repeat(5000), "тема"];
  for (const text of texts) {
    const wire = toWireStatus(new MillraceError(ErrorCode.INVALID_CONFIG, text));
    const headers = encodeURI(wire.message).length + ((wire.details?.length ?? 0) * 4) / 3;
    assert.ok(headers < 6000, `${headers} bytes`);
    const back = fromWireStatus(wire);
    assert.equal(back.code, ErrorCode.INVALID_CONFIG);
    assert.ok(text.startsWith(back.message.slice(0, 1)) || !text.isWellFormed());
  }
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { ErrorCode, MillraceError } from "@millrace/errors";
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

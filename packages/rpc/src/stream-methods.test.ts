import assert from "node:assert/strict";
import { test } from "node:test";
import {
  blankReplicateRequest,
  blankReplicateResponse,
  replicateRequestCodec,
  replicateResponseCodec,
} from "@millrace/record";
import { fetchMethod, produceMethod, replicateMethod } from "./stream-methods.ts";

test("the streams of records are named as in their protos, and read in both directions", () => {
  const methods = [produceMethod, fetchMethod, replicateMethod];
  assert.deepEqual(
    methods.map(({ path, kind }) => [path, kind]),
    [
      ["/millrace.broker.v1.ProduceService/Produce", "bidi_streaming"],
      ["/millrace.broker.v1.FetchService/Fetch", "bidi_streaming"],
      ["/millrace.broker.v1.ReplicationService/Replicate", "bidi_streaming"],
    ],
  );
});

test("replication streams use the hand-written codecs, and splice batches", () => {
  assert.equal(replicateMethod.input, replicateRequestCodec);
  assert.equal(replicateMethod.output, replicateResponseCodec);
  const { input, output } = replicateMethod;
  assert.deepEqual(input.decode(input.encode(blankReplicateRequest)), blankReplicateRequest);
  assert.deepEqual(output.decode(output.encode(blankReplicateResponse)), blankReplicateResponse);
  assert.deepEqual(output.parts?.(blankReplicateResponse), [Buffer.alloc(0)]);
});

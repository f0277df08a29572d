import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError, parseEndpoint } from "@millrace/errors";
import { ListOffsetsRequestSchema, LogService } from "@millrace/proto/broker";
import { type Channel, type Dialer, methodOf } from "@millrace/rpc";
import { Channels } from "./channels.ts";

const method = methodOf(LogService.method.listOffsets);
const request = create(ListOffsetsRequestSchema);
const endpoint = parseEndpoint("b:7400") ?? assert.fail();

/** Channels of which a test answers the calls. */
const setUp = () => {
  const dialed: { calls: PromiseWithResolvers<unknown>[]; isClosed: boolean }[] = [];
  const dialer: Dialer = {
    dial: (address) => {
      const one = { calls: [] as PromiseWithResolvers<unknown>[], isClosed: false };
      dialed.push(one);
      const unary = () => {
        const call = Promise.withResolvers<unknown>();
        one.calls.push(call);
        return call.promise;
      };
      const close = (): void => {
        one.isClosed = true;
      };
      return { endpoint: address, unary, close } as unknown as Channel;
    },
  } as Dialer;
  const channels = new Channels({ dialer, clusterId: "c" });
  return { dialed, call: () => channels.call(endpoint, method, request), channels };
};

const fails = (work: Promise<unknown>) => assert.rejects(work, MillraceError);

test("a connection that may be dead is replaced, and closed after its last call", async () => {
  const { call, dialed } = setUp();
  const [first, second] = [call(), call()];
  assert.equal(dialed.length, 1);
  const timeout = new MillraceError(ErrorCode.UNAVAILABLE, "no answer");
  assert.ok(timeout.spec.sideEffects);
  dialed[0]?.calls[0]?.reject(timeout);
  await fails(first);
  assert.equal(dialed[0]?.isClosed, false);
  const third = call();
  assert.equal(dialed.length, 2);
  dialed[0]?.calls[1]?.resolve("answer");
  assert.equal(await second, "answer");
  assert.equal(dialed[0]?.isClosed, true);
  dialed[1]?.calls[0]?.resolve("answer");
  await third;
  assert.equal(dialed[1]?.isClosed, false);
});

test("a refusal says nothing about the connection", async () => {
  const { call, dialed } = setUp();
  const work = call();
  dialed[0]?.calls[0]?.reject(MillraceError.refusal(ErrorCode.NOT_LEADER, "not here"));
  await fails(work);
  void call();
  assert.equal(dialed.length, 1);
});

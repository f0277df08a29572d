import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "@millrace/env";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { ServerStream } from "@millrace/rpc";
import { limits } from "./limits.ts";
import { readHandshake } from "./stream-handshake.ts";

/** A stream whose first message the test gives, and a clock with one timer. */
const setUp = () => {
  const first = Promise.withResolvers<string | undefined>();
  const timers: { ms: number; run: () => void; cancelled: boolean }[] = [];
  const stream = { read: () => first.promise } as unknown as ServerStream<string, never>;
  const clock: Pick<Clock, "timer"> = {
    timer: (ms, run) => {
      const timer = { ms, run, cancelled: false };
      timers.push(timer);
      return () => {
        timer.cancelled = true;
      };
    },
  };
  return { first, timers, read: readHandshake(stream, clock) };
};

const violation = (text: RegExp) => (thrown: unknown) =>
  hasCode(thrown, ErrorCode.STREAM_PROTOCOL_VIOLATION) && text.test(thrown.message);

test("the first message is returned, and the timer is gone", async () => {
  const { first, timers, read } = setUp();
  assert.deepEqual(
    timers.map(({ ms }) => ms),
    [limits.openTimeoutMs],
  );
  first.resolve("open");
  assert.equal(await read, "open");
  assert.ok(timers[0]?.cancelled);
});

test("silence and an early end break the protocol", async () => {
  const silent = setUp();
  silent.timers[0]?.run();
  await assert.rejects(silent.read, violation(/no opening message within 10000 ms/));
  const ended = setUp();
  ended.first.resolve(undefined);
  await assert.rejects(ended.read, violation(/ended before its opening message/));
  assert.ok(ended.timers[0]?.cancelled);
});

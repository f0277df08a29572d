import assert from "node:assert/strict";
import { test } from "node:test";
import { manualClock, meanRandom } from "@millrace/env/testing";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { StreamRetries } from "./stream-retries.ts";

/** Attempts that the test opens and ends. */
const setUp = () => {
  const { clock, turn, soon, advance, pending } = manualClock();
  const attempts: (PromiseWithResolvers<void> & { readonly opened: () => void })[] = [];
  const failures: string[] = [];
  const retries = new StreamRetries({
    ...{ clock, random: meanRandom, pauseMsMax: 1_000 },
    attempt: (opened) => {
      const attempt = { ...Promise.withResolvers<void>(), opened };
      attempts.push(attempt);
      return attempt.promise;
    },
    onFailure: ({ message }) => failures.push(message),
  });
  const done = retries.run();
  /** The last attempt ends. Resolves with the pause that follows, which passes. */
  const pauseAfter = async (text?: string): Promise<number | undefined> => {
    const attempt = attempts.at(-1);
    if (text === undefined) attempt?.resolve();
    else attempt?.reject(new MillraceError(ErrorCode.UNAVAILABLE, text));
    await turn();
    const [ms] = pending();
    await advance(ms ?? 0);
    return ms;
  };
  return { retries, attempts, failures, done, turn, soon, pending, pauseAfter };
};

test("pauses grow while a stream cannot be opened, up to their bound", async () => {
  const { attempts, failures, pauseAfter } = setUp();
  const pauses: (number | undefined)[] = [];
  for (let i = 0; i < 7; i += 1) pauses.push(await pauseAfter(`failure ${i}`));
  assert.deepEqual(pauses, [50, 100, 200, 400, 800, 1_000, 1_000]);
  assert.equal(attempts.length, 8);
  assert.deepEqual(failures, ["failure 0"], "the first of a row is told");
});

test("a stream that was opened ends the long pauses, however it ends", async () => {
  const { attempts, failures, pauseAfter } = setUp();
  for (const text of ["a", "b", "c"]) await pauseAfter(text);
  attempts.at(-1)?.opened();
  assert.equal(await pauseAfter("broken"), 50);
  assert.equal(await pauseAfter("d"), 100);
  attempts.at(-1)?.opened();
  assert.equal(await pauseAfter(), 50);
  assert.deepEqual(failures, ["a", "broken"]);
});

test("a stop ends a pause, and leaves no timer", async () => {
  const { retries, attempts, done, turn, soon, pending } = setUp();
  attempts[0]?.resolve();
  await turn();
  assert.deepEqual(pending(), [50]);
  retries.stop();
  await soon(done);
  assert.deepEqual([pending(), attempts.length, retries.isStopped], [[], 1, true]);
});

test("a stop waits for the attempt that is under way, whose failure is not told", async () => {
  const { retries, attempts, failures, done, turn, soon } = setUp();
  let isDone = false;
  void done.then(() => {
    isDone = true;
  });
  retries.stop();
  await turn();
  assert.equal(isDone, false);
  attempts[0]?.reject(new Error("cancelled"));
  await soon(done);
  assert.deepEqual([failures, attempts.length], [[], 1]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { Incarnation, Kernel } from "@millrace/sim";
import { untilAnswered } from "./patience.ts";

/** Asks for what the answers say, one after the other. */
const ask = (answers: readonly (string | undefined | MillraceError)[], signal?: AbortSignal) => {
  const kernel = new Kernel(1);
  const clock = new Incarnation(kernel).clock();
  const [reasons, lines]: [string[], string[]] = [[], []];
  let asked = 0;
  const answer = async (): Promise<string | undefined> => {
    const one = answers[asked];
    asked += 1;
    if (one instanceof MillraceError) throw one;
    return one;
  };
  const logger = { ...silentLogger, warn: (_: object, text: string) => void lines.push(text) };
  const onWaiting = (reason: string): void => void reasons.push(reason);
  const options = { clock, logger, onWaiting, signal, waiting: "waiting for it" };
  return { kernel, reasons, lines, answered: kernel.run(untilAnswered(answer, options)) };
};

const passing = new MillraceError(ErrorCode.UNAVAILABLE, "nobody answers");
const lasting = new MillraceError(ErrorCode.INVALID_CONFIG, "never");

test("waits over silence and over errors that pass, and logs it once", async () => {
  const { answered, kernel, lines, reasons } = ask([undefined, passing, undefined, "it"]);
  assert.equal(await answered, "it");
  assert.deepEqual(lines, ["waiting for it"]);
  assert.deepEqual(reasons, ["waiting for it", "waiting for it: nobody answers", "waiting for it"]);
  assert.ok(kernel.nowMs >= 1500);
});

test("an answer that is there is not waited for", async () => {
  const { answered, kernel, lines } = ask(["it"]);
  assert.equal(await answered, "it");
  assert.deepEqual(lines, []);
  assert.ok(kernel.nowMs < 1);
});

test("an error that lasts, and the end of the wait, are told at once", async () => {
  await assert.rejects(ask([undefined, lasting]).answered, lasting);
  await assert.rejects(ask(["it"], AbortSignal.abort(lasting)).answered, lasting);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Schema } from "@millrace/config";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { helpText, type Launch, type Program, runProgram } from "./run.ts";
import type { RunningServer } from "./server.ts";
import { identity, listenerSettings, loggingSettings } from "./settings.ts";

const schema = { ...loggingSettings, id: identity("Who it is.") } as const satisfies Schema;
const endpoints = { client: "h:1", internal: "h:2", health: "h:3", http: "h:4" };

const program = (start: (launch: Launch) => Promise<RunningServer>): Program<typeof schema> => ({
  ...{
    service: "test",
    schema,
    usage: "test [flags]",
    about: "A test.",
    example: ["Example: test"],
  },
  start: (_, launch) => start(launch),
  title: ({ id }) => `Test ${id}`,
});

/** Runs it, and sends the signal to its own process once the start has begun. */
const runUntil = async (
  signal: "SIGTERM" | "SIGINT" | "SIGHUP",
  start: (launch: Launch) => Promise<RunningServer>,
  afterMs = 0,
): Promise<number> => {
  const begun = Promise.withResolvers<void>();
  const code = runProgram(
    program((launch) => {
      begun.resolve();
      return start(launch);
    }),
    ["--id", "7", "--log-level", "error"],
    {},
  );
  await begun.promise;
  await sleep(afterMs);
  process.emit(signal, signal);
  return code;
};

test("the help tells every setting, and which must be set", () => {
  const text = helpText(program(() => assert.fail()));
  assert.match(text, /^Usage: test \[flags\]\n\nA test\.\n/);
  assert.match(text, / {2}--id \(must be set; 0 to 2,147,483,647\)\n {6}Who it is\.\n/);
  assert.match(text, / {2}--log-level \(default "info"; debug, info, warn, error\)\n/);
  assert.match(text, /\nExample: test\n$/);
});

test("a signal stops a server, and the exit code is 0", async () => {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    let stopped = 0;
    const stop = async (): Promise<void> => {
      stopped += 1;
    };
    assert.equal(await runUntil(signal, async () => ({ endpoints, stop }), 20), 0);
    assert.equal(stopped, 1, signal);
    for (const name of ["SIGTERM", "SIGINT", "SIGHUP"]) process.removeAllListeners(name);
  }
});

test("a signal ends a start that waits, and stops one that does not heed it once it has started", async () => {
  const waiting = ({ signal }: Launch): Promise<RunningServer> =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  assert.equal(await runUntil("SIGTERM", waiting), 0);
  let stopped = false;
  const deaf = async (): Promise<RunningServer> => {
    await sleep(20);
    return {
      endpoints,
      stop: async () => {
        stopped = true;
      },
    };
  };
  assert.equal(await runUntil("SIGTERM", deaf), 0);
  assert.ok(stopped);
  for (const name of ["SIGTERM", "SIGINT", "SIGHUP"]) process.removeAllListeners(name);
});

test("a start that fails ends with 1, wrong settings with 2, also while a signal ends it", async () => {
  const fails = (code: ErrorCode) => () =>
    Promise.reject(new MillraceError(code, "why: what to do"));
  const run = (code: ErrorCode, argv = ["--id", "7"]): Promise<number> =>
    runProgram(program(fails(code)), argv, {});
  assert.equal(await run(ErrorCode.UNAVAILABLE), 1);
  assert.equal(await run(ErrorCode.CANCELLED), 1);
  assert.equal(await run(ErrorCode.INVALID_CONFIG), 2);
  assert.equal(await run(ErrorCode.UNAVAILABLE, []), 2);
  const failsLate = async ({ signal }: Launch): Promise<RunningServer> => {
    while (!signal.aborted) await sleep(1);
    throw new MillraceError(ErrorCode.DATA_DIRECTORY_UNUSABLE, "damaged: look");
  };
  assert.equal(await runUntil("SIGTERM", failsLate), 1);
});

test("a port that is in use is told with its flag", async (context) => {
  const said: string[] = [];
  context.mock.method(process.stderr, "write", (text: string) => said.push(text) > 0);
  const listening = { ...schema, ...listenerSettings };
  const start = async (why: string): Promise<void> => {
    const launch = async (): Promise<RunningServer> => {
      throw new MillraceError(
        ErrorCode.UNAVAILABLE,
        `cannot listen on 127.0.0.1:7480: ${why}: free the port, or choose another`,
      );
    };
    const { title: _, ...rest } = program(launch);
    const argv = ["--id", "7", "--http-listen", "127.0.0.1:7480"];
    await runProgram({ ...rest, schema: listening, title: () => "Test" }, argv, {});
  };
  await start("listen EADDRINUSE: address already in use 127.0.0.1:7480");
  await start("listen EACCES: permission denied 127.0.0.1:7480");
  const begin = "error: UNAVAILABLE: cannot listen on 127.0.0.1:7480: ";
  assert.deepEqual(said, [
    `${begin}something listens there already: stop it, or choose another --http-listen\n`,
    `${begin}listen EACCES: permission denied 127.0.0.1:7480: free the port, or choose another --http-listen\n`,
  ]);
});

/** Which server is asked, and how soon. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { Clock } from "@millrace/env";
import { nodeClock } from "@millrace/env/node";
import { type Endpoint, ErrorCode, hasCode, MillraceError, parseEndpoint } from "@millrace/errors";
import { Servers } from "./servers.ts";

const limit = { timeout: 5_000 };

/** A clock that a test moves. */
const manualClock = () => {
  let nowMs = 0;
  const timers = new Set<{ readonly atMs: number; readonly run: () => void }>();
  const clock: Clock = {
    ...nodeClock(),
    monoMs: () => nowMs,
    timer: (ms, run) => {
      const timer = { atMs: nowMs + ms, run };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  };
  const pass = async (ms: number): Promise<void> => {
    nowMs += ms;
    for (const timer of timers) {
      if (timer.atMs > nowMs) continue;
      timers.delete(timer);
      timer.run();
    }
    await turn();
  };
  return { clock, pass, timers };
};

const endpointOf = (text: string): Endpoint => {
  const endpoint = parseEndpoint(text);
  assert.ok(endpoint !== undefined);
  return endpoint;
};

interface Asked {
  readonly host: string;
  readonly signal: AbortSignal;
  answer(text: string): void;
  fail(code: ErrorCode): void;
}

const setUp = (bootstrap: readonly string[], brokers: readonly string[] = []) => {
  const { clock, pass, timers } = manualClock();
  const servers = new Servers({
    clock,
    bootstrap: bootstrap.map(endpointOf),
    brokers: () => brokers.map(endpointOf),
  });
  const asked: Asked[] = [];
  const discarded: string[] = [];
  const gone = new AbortController();
  const ask = () =>
    servers.firstAnswer<string>(
      (endpoint, signal) => {
        const { promise, resolve, reject } = Promise.withResolvers<string>();
        const fail = (code: ErrorCode): void => reject(new MillraceError(code, endpoint.host));
        asked.push({ host: endpoint.host, signal, answer: resolve, fail });
        return promise;
      },
      gone.signal,
      (answer) => discarded.push(answer),
    );
  const hosts = (): string => asked.map(({ host }) => host).join(" ");
  return { servers, asked, discarded, gone, ask, hosts, pass, timers };
};

test(
  "the next server is asked 250 ms after the one before, and the first answer wins",
  limit,
  async () => {
    const { asked, ask, hosts, pass, timers } = setUp(["a:1", "b:1"], ["c:1", "a:1"]);
    const answer = ask();
    assert.equal(hosts(), "a");
    await pass(249);
    assert.equal(hosts(), "a");
    await pass(1);
    assert.equal(hosts(), "a b");
    await pass(250);
    assert.equal(hosts(), "a b c", "each server once");
    asked[1]?.answer("from b");
    assert.equal(await answer, "from b");
    assert.ok(
      asked.every(({ signal }) => signal.aborted),
      "the others are cancelled",
    );
    assert.equal(timers.size, 0);
  },
);

test("a server that fails at once costs no time", limit, async () => {
  const { asked, ask, hosts, pass } = setUp(["a:1", "b:1", "c:1"]);
  const answer = ask();
  asked[0]?.fail(ErrorCode.UNAVAILABLE);
  await pass(0);
  assert.equal(hosts(), "a b");
  await pass(249);
  assert.equal(hosts(), "a b", "the 250 ms begin anew");
  asked[1]?.fail(ErrorCode.UNAVAILABLE);
  await pass(0);
  asked[2]?.fail(ErrorCode.METADATA_STALE);
  await assert.rejects(answer, (thrown) => hasCode(thrown, ErrorCode.METADATA_STALE));
});

test("an answer that comes too late is discarded, and changes nothing", limit, async () => {
  const { asked, ask, discarded, pass, servers } = setUp(["a:1", "b:1"]);
  const answer = ask();
  await pass(250);
  asked[1]?.answer("b");
  asked[0]?.answer("a");
  assert.equal(await answer, "b");
  await pass(0);
  assert.deepEqual(discarded, ["a"]);
  assert.equal(servers.good?.host, "b");
});

test(
  "the server that answered last is asked first, one that was left is asked last",
  limit,
  async () => {
    const { asked, ask, hosts, pass, servers } = setUp(["a:1", "b:1"], ["c:1"]);
    const round = async (): Promise<string> => {
      asked.length = 0;
      const answer = ask();
      await pass(250);
      await pass(250);
      const order = hosts();
      asked.at(-1)?.answer("");
      await answer;
      return order;
    };
    assert.equal(await round(), "a b c");
    assert.equal(await round(), "c a b");
    servers.leave(endpointOf("a:1"));
    assert.equal(await round(), "b c a");
    assert.equal(await round(), "a b c", "it answered: it is as good as any");
  },
);

test("a client that is closed stops asking", limit, async () => {
  const { asked, ask, gone, hosts, pass, timers } = setUp(["a:1", "b:1"]);
  const answer = ask();
  gone.abort(new MillraceError(ErrorCode.CANCELLED, "closed"));
  await assert.rejects(answer, (thrown) => hasCode(thrown, ErrorCode.CANCELLED));
  assert.equal(asked[0]?.signal.aborted, true);
  await pass(1000);
  assert.equal(hosts(), "a");
  assert.equal(timers.size, 0);
  await assert.rejects(ask(), (thrown) => hasCode(thrown, ErrorCode.CANCELLED));
  assert.equal(hosts(), "a");
});

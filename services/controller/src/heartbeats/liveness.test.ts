/** Decisions about single brokers, step by step. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Decision, Liveness } from "./liveness.ts";

const times = { silenceMs: 5000, streamWaitMs: 8000, probePauseMs: 500, lookGapMsMax: 500 };

/** Brokers by id, all under epoch 10. */
const setUp = (...ids: readonly number[]) => {
  const liveness = new Liveness(times);
  const epochs = new Map(ids.map((id) => [id, 10]));
  let nowMs = 0;
  /** Looks every 250 ms. */
  const pass = (ms: number): Decision => {
    const endMs = nowMs + ms;
    while (nowMs + 250 < endMs) {
      nowMs += 250;
      liveness.look(nowMs, epochs);
    }
    nowMs = endMs;
    return liveness.look(nowMs, epochs);
  };
  const look = (): Decision => liveness.look(nowMs, epochs);
  const open = (brokerId: number): number => liveness.opened({ brokerId, epoch: 10 }, nowMs);
  const beat = (brokerId: number, stream: number): void => liveness.beat(brokerId, stream, nowMs);
  const broke = (brokerId: number, stream: number): void => liveness.broke(brokerId, stream, nowMs);
  const probed = (brokerId: number, probe: number, isRefused: boolean): void =>
    liveness.probed(brokerId, probe, isRefused, nowMs);
  /** Time goes on, and nobody looks. */
  const stall = (ms: number): void => {
    nowMs += ms;
  };
  /** The registration was deleted. */
  const gone = (brokerId: number): void => {
    liveness.fenced(brokerId, nowMs);
    epochs.delete(brokerId);
  };
  const keepBeating = (ms: number, streams: readonly (readonly [number, number])[]): Decision => {
    const endMs = nowMs + ms;
    while (nowMs < endMs) {
      for (const [id, stream] of streams) beat(id, stream);
      pass(250);
    }
    return look();
  };
  return { liveness, epochs, pass, look, open, beat, broke, probed, stall, gone, keepBeating };
};

const fenced = ({ fence }: Decision): string[] => fence.map((one) => `${one.brokerId} ${one.why}`);
const probeOf = ({ probe }: Decision): number => probe[0]?.probe ?? assert.fail("no probe");

test("a broker that is silent for five seconds is hung, and not before", () => {
  const at = setUp(0, 1, 2);
  const streams = [at.open(0), at.open(1), at.open(2)] as const;
  at.pass(1000);
  at.beat(2, streams[2]);
  const others = [
    [0, streams[0]],
    [1, streams[1]],
  ] as const;
  assert.deepEqual(fenced(at.keepBeating(4750, others)), []);
  const decision = at.keepBeating(250, others);
  assert.deepEqual(decision, {
    fence: [{ brokerId: 2, epoch: 10, why: "hung" }],
    probe: [],
    spared: [],
  });
});

test("a stream that breaks is followed by a probe at once, and a refusal by a fencing", () => {
  const at = setUp(0, 1, 2);
  const stream = at.open(1);
  assert.deepEqual(at.pass(1000).probe, []);
  at.broke(1, stream);
  const decision = at.look();
  assert.deepEqual(fenced(decision), []);
  const probe = probeOf(decision);
  assert.deepEqual(at.look().probe, [], "one at a time");
  at.probed(1, probe, true);
  assert.deepEqual(fenced(at.look()), ["1 dead"]);
});

test("a broker that answers a probe has until its silence ends, and is dialed again", () => {
  const at = setUp(0, 1, 2);
  const stream = at.open(1);
  at.pass(1000);
  at.beat(1, stream);
  at.broke(1, stream);
  at.probed(1, probeOf(at.look()), false);
  assert.deepEqual(at.pass(450).probe, []);
  at.probed(1, probeOf(at.pass(50)), false);
  at.probed(1, probeOf(at.pass(500)), false);
  assert.deepEqual(fenced(at.pass(3999)), []);
  assert.deepEqual(fenced(at.pass(1)), ["1 hung"]);
});

test("a new stream ends the doubts about a broker, whatever an older probe says", () => {
  const at = setUp(0, 1, 2);
  const first = at.open(1);
  at.broke(1, first);
  const probe = probeOf(at.look());
  const second = at.open(1);
  at.probed(1, probe, true);
  assert.deepEqual(fenced(at.look()), []);
  at.broke(1, first);
  assert.deepEqual(at.look().probe, [], "the first stream is over already");
  at.broke(1, second);
  at.probed(1, probe, true);
  assert.deepEqual(fenced(at.look()), [], "the probe is older than the second stream");
});

test("a broker that said goodbye is not fenced", () => {
  const at = setUp(0, 1, 2);
  const stream = at.open(1);
  at.liveness.left(1, stream);
  at.broke(1, stream);
  const decision = at.pass(60_000);
  assert.deepEqual([fenced(decision), decision.spared], [[], []]);
  assert.ok(decision.probe.every(({ brokerId }) => brokerId !== 1));
});

test("a broker without a stream is dialed after a time, and fenced only when that is refused", () => {
  const at = setUp(0, 1, 2);
  at.look();
  at.keepBeating(0, []);
  assert.deepEqual(at.pass(7999).probe, []);
  const decision = at.pass(1);
  assert.deepEqual(
    decision.probe.map(({ brokerId }) => brokerId),
    [0, 1, 2],
  );
  for (const { brokerId, probe } of decision.probe) at.probed(brokerId, probe, false);
  assert.deepEqual(at.pass(4999).probe, []);
  const again = at.pass(1);
  assert.deepEqual(fenced(again), []);
  const last = again.probe.find(({ brokerId }) => brokerId === 2) ?? assert.fail();
  at.probed(2, last.probe, true);
  assert.deepEqual(fenced(at.look()), ["2 dead"]);
});

test("a new registration begins anew", () => {
  const at = setUp(0, 1, 2);
  const stream = at.open(1);
  at.broke(1, stream);
  const probe = probeOf(at.look());
  at.epochs.set(1, 11);
  at.look();
  at.probed(1, probe, true);
  assert.deepEqual(fenced(at.look()), []);
  assert.deepEqual(fenced(at.pass(6000)), [], "the new one is awaited");
});

test("time in which this process stood still is no silence of the brokers", () => {
  const at = setUp(0, 1, 2);
  at.look();
  const stream = at.open(1);
  at.stall(60_000);
  assert.deepEqual(at.look(), { fence: [], probe: [], spared: [] });
  assert.deepEqual(fenced(at.pass(4499)), [], "500 ms count");
  assert.deepEqual(fenced(at.pass(1)), ["1 hung"]);
  at.beat(1, stream);
  at.stall(60_000);
  at.beat(1, stream);
  at.look();
  assert.deepEqual(fenced(at.pass(4999)), [], "a beat is never in the future");
  assert.deepEqual(fenced(at.pass(1)), ["1 hung"]);
});

test("half of the brokers are left to their leases, one alone is not", () => {
  const two = setUp(0, 1);
  two.open(0);
  const beating = two.open(1);
  assert.deepEqual(fenced(two.keepBeating(5000, [[1, beating]])), ["0 hung"]);
  const four = setUp(0, 1, 2, 3);
  const streams = [0, 1, 2, 3].map((id) => [id, four.open(id)] as const);
  const decision = four.keepBeating(5000, streams.slice(2));
  assert.deepEqual([fenced(decision), decision.spared], [[], [0, 1]]);
  const five = setUp(0, 1, 2, 3, 4);
  const more = [0, 1, 2, 3, 4].map((id) => [id, five.open(id)] as const);
  assert.deepEqual(fenced(five.keepBeating(5000, more.slice(2))), ["0 hung", "1 hung"]);
});

test("silences that end one after the other are one cut", () => {
  const at = setUp(0, 1, 2);
  const streams = [0, 1, 2].map((id) => [id, at.open(id)] as const);
  at.keepBeating(2500, streams.slice(1));
  at.keepBeating(2250, streams.slice(2));
  const decision = at.keepBeating(250, streams.slice(2));
  assert.deepEqual([fenced(decision), decision.spared], [[], [0]]);
  // The cut is over for one of them.
  const [id, stream] = streams[1] ?? assert.fail();
  at.beat(id, stream);
  assert.deepEqual(fenced(at.look()), ["0 hung"]);
});

test("a broker that was fenced just now counts as missing, until it is back", () => {
  const at = setUp(0, 1, 2);
  const stream = at.open(0);
  const other = at.open(1);
  at.broke(0, stream);
  at.probed(0, probeOf(at.look()), true);
  assert.deepEqual(fenced(at.look()), ["0 dead"]);
  at.gone(0);
  at.broke(1, other);
  at.probed(1, probeOf(at.look()), true);
  const decision = at.look();
  assert.deepEqual([fenced(decision), decision.spared], [[], [1]]);
  assert.deepEqual(at.pass(4999).spared, [1]);
  assert.deepEqual(fenced(at.pass(1)), ["1 dead"]);
  // Fenced again, and back at once.
  at.gone(0);
  assert.deepEqual(at.look().spared, [1]);
  at.epochs.set(0, 20);
  assert.deepEqual(fenced(at.look()), ["1 dead"]);
});

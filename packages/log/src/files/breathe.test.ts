import assert from "node:assert/strict";
import { test } from "node:test";
import { breathe, inTurns, noPauses, Pace, type Pauses } from "./breathe.ts";

/** A clock whose turns are called by the test. */
const turnsOf = () => {
  const deferred: (() => void)[] = [];
  const clock: Pauses = { defer: (fn) => void deferred.push(fn) };
  const turn = async (): Promise<void> => {
    for (const fn of deferred.splice(0)) fn();
    await new Promise(setImmediate);
  };
  return { clock, turn };
};

test("of computations that pause at once each goes on in a turn of its own, in order", async () => {
  const { clock, turn } = turnsOf();
  const other = turnsOf();
  const ran: string[] = [];
  const compute = async (name: string, on: Pauses): Promise<void> => {
    const pace = new Pace(on, 1);
    for (let step = 1; step <= 2; step += 1) {
      if (pace.took()) await pace.pause();
      ran.push(`${name}${step}`);
    }
  };
  const oneByOne = inTurns(clock);
  const all = ["a", "b", "c"].map((name) => compute(name, oneByOne));
  all.push(compute("x", other.clock));
  await turn();
  assert.deepEqual(ran, ["a1"]);
  await turn();
  assert.deepEqual(ran, ["a1", "b1"]);
  // Another clock knows nothing of these.
  await other.turn();
  assert.deepEqual(ran, ["a1", "b1", "x1"]);
  for (let i = 0; i < 4; i += 1) await turn();
  await other.turn();
  assert.deepEqual(ran, ["a1", "b1", "x1", "c1", "a2", "b2", "c2", "x2"]);
  await Promise.all(all);
});

test("a computation that is alone goes on in the next turn, however many came before", async () => {
  const { clock, turn } = turnsOf();
  const oneByOne = inTurns(clock);
  for (let i = 0; i < 3; i += 1) {
    let ran = false;
    void breathe(oneByOne).then(() => {
      ran = true;
    });
    await turn();
    assert.ok(ran, `${i}`);
  }
  for (let i = 0; i < 3; i += 1) await breathe(noPauses);
});

test("beside other work computations that pause go on together: no turn is long, and each is dear", async () => {
  const { clock, turn } = turnsOf();
  let ran = 0;
  for (let i = 0; i < 200; i += 1) {
    void breathe(clock).then(() => {
      ran += 1;
    });
  }
  await turn();
  assert.equal(ran, 200);
});

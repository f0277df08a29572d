import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { TurnLimiter } from "./turn-limiter.ts";

test("no turn has more than its share, and all get theirs in order", async () => {
  const asked = fc.array(fc.nat(7), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 5 }), asked, async (perTurn, perRound) => {
      const deferred: (() => void)[] = [];
      const turnLimiter = new TurnLimiter(perTurn, (run) => void deferred.push(run));
      const done: number[] = [];
      let next = 0;
      let thisTurn = 0;
      const work = async (id: number): Promise<void> => {
        const turn = turnLimiter.take();
        if (turn !== undefined) await turn;
        done.push(id);
        thisTurn += 1;
      };
      const endTurn = async (): Promise<void> => {
        await new Promise((resolve) => setImmediate(resolve));
        assert.ok(thisTurn <= perTurn, `${thisTurn} in one turn`);
        thisTurn = 0;
        for (const run of deferred.splice(0)) run();
        await new Promise((resolve) => setImmediate(resolve));
      };
      for (const count of perRound) {
        for (let i = 0; i < count; i += 1) void work(next++);
        await endTurn();
      }
      for (let i = 0; deferred.length > 0; i += 1) {
        assert.ok(i < 1000, "it comes to rest");
        await endTurn();
      }
      assert.deepEqual(
        done,
        Array.from({ length: next }, (_, i) => i),
      );
    }),
    { numRuns: 200 },
  );
});

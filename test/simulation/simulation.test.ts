/** The seeds that every test run simulates, and what a campaign must reach. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { bugs } from "@millrace/log";
import { run } from "./run.ts";
import { Totals } from "./totals.ts";

const [firstSeed = 1, seedCount = 60] = (process.env["MILLRACE_SIM_SEEDS"] ?? "")
  .split(":")
  .filter((text) => text !== "")
  .map(Number);

const totals = new Totals(undefined);

for (let seed = firstSeed; seed < firstSeed + seedCount; seed += 1) {
  test(`seed ${seed}: nothing acknowledged or read is lost`, async () => {
    totals.add(await run(seed));
  });
}

test("the same seed gives the same run, event by event", async () => {
  const lines: string[][] = [[], []];
  const [first, second] = [
    await run(4242, (line) => lines[0]?.push(line)),
    await run(4242, (line) => lines[1]?.push(line)),
  ];
  assert.equal(first.traceHash, second.traceHash);
  assert.deepEqual(lines[0], lines[1]);
  assert.ok((lines[0]?.length ?? 0) > first.events, "every event is in the trace");
  assert.notEqual(first.traceHash, (await run(4243)).traceHash);
});

test("a failure names the seed and the step", async () => {
  bugs.ackBeforeFsync = true;
  let found: unknown;
  try {
    for (let seed = 1; seed <= 400 && found === undefined; seed += 1) {
      await run(seed).catch((thrown: unknown) => {
        found = thrown;
      });
    }
  } finally {
    bugs.ackBeforeFsync = false;
  }
  assert.match(String(found), /seed [0-9]+, step [0-9]+, [0-9.]+ ms: /, "the seeded bug is found");
});

test("the seeds reach every mark", { skip: seedCount < 60 }, () => {
  assert.deepEqual(totals.missing(), []);
});

after(() => {
  console.log(`simulation: ${totals.summary()}`);
});

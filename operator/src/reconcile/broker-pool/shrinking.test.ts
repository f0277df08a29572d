/** A pool that gets smaller: in peace, killed at every write, and with faults. */
import assert from "node:assert/strict";
import { testFaults, testKills, testPeace } from "../broker/testing/suite.ts";

testPeace("shrinking", ({ objects }) => {
  const of = (kind: string): number[] =>
    objects.filter((id) => id.startsWith(`${kind} `)).map((id) => Number(id.at(-1)));
  // A number is given once.
  assert.deepEqual(of("brokers.millrace.dev"), [0, 2, 4]);
  assert.deepEqual(of("pods"), [0, 2, 4]);
  // The volume of broker 1 went with it; that of broker 3 was to stay.
  assert.deepEqual(of("persistentvolumeclaims"), [0, 2, 3, 4]);
});
testKills("shrinkingSmall");
testFaults("shrinking");

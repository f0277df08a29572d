/** A pool that gets smaller, and then not: in peace, killed at every write, and with faults. */
import { testFaults, testKills, testPeace } from "../broker/testing/suite.ts";

for (const name of ["calledBack", "blocked"] as const) {
  testPeace(name);
  testKills(name);
  testFaults(name);
}

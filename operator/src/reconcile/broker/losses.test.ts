/** Pods and disks that are lost: in peace, with the operator killed at every write, with faults. */
import { testFaults, testKills, testPeace } from "./testing/suite.ts";

for (const name of ["killed", "diskLost"] as const) {
  testPeace(name);
  testKills(name);
  testFaults(name);
}

/** A pool that grows, and is rolled: in peace, killed at every write, and with faults. */
import { testFaults, testKills, testPeace } from "../broker/testing/suite.ts";

testPeace("growing");
testKills("growingSmall");
testFaults("growing");

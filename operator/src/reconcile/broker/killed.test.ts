/** Pods that are killed or evicted: in peace, with the operator killed at every write, and with faults. */
import { testFaults, testKills, testPeace } from "./testing/suite.ts";

testPeace("killed");
testKills("killed");
testFaults("killed");

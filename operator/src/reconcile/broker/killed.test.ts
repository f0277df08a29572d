/** Pods that are killed by hand, or evicted. */
import { testFaults, testKills, testPeace } from "./testing/suite.ts";

testPeace("killed");
testKills("killed");
testFaults("killed");

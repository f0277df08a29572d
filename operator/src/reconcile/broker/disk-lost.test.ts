/** Volumes that are lost. */
import { testFaults, testKills, testPeace } from "./testing/suite.ts";

testPeace("diskLost");
testKills("diskLost");
testFaults("diskLost");

/** Volumes that are lost: in peace, with the operator killed at every write, and with faults. */
import { testFaults, testKills, testPeace } from "./testing/suite.ts";

testPeace("diskLost");
testKills("diskLost");
testFaults("diskLost");

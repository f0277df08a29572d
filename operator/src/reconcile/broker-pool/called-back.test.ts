/** A broker that is called back while it is drained: in peace, with the operator killed at every write, and with faults. */
import { testFaults, testKills, testPeace } from "../broker/testing/suite.ts";

testPeace("calledBack");
testKills("calledBack");
testFaults("calledBack");

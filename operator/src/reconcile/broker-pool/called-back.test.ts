/** A broker that is called back while it is drained. */
import { testFaults, testKills, testPeace } from "../broker/testing/suite.ts";

testPeace("calledBack");
testKills("calledBack");
testFaults("calledBack");

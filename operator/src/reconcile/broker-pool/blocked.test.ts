/** Brokers that should go, and whose replicas cannot. */
import { testFaults, testKills, testPeace } from "../broker/testing/suite.ts";

testPeace("blocked");
testKills("blocked");
testFaults("blocked");

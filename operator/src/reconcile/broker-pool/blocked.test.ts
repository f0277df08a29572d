/** Brokers whose replicas cannot go: in peace, with the operator killed at every write, and with faults. */
import { testFaults, testKills, testPeace } from "../broker/testing/suite.ts";

testPeace("blocked");
testKills("blocked");
testFaults("blocked");

/** A Cluster that is deleted, and made anew. */
import { testFaults, testKills, testPeace } from "./testing/suite.ts";

testPeace("clusterGone");
testKills("clusterGone");
testFaults("clusterGone");

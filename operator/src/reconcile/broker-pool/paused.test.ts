/** Clusters that are paused or missing, and numbers that run out. */
import { testFaults, testPeace } from "../broker/testing/suite.ts";

testPeace("paused");
testFaults("paused");

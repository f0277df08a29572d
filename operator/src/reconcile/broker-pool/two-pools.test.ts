/** Two pools of one cluster, and a new image for both. */
import { testFaults, testPeace } from "../broker/testing/suite.ts";

testPeace("twoPools");
testFaults("twoPools");

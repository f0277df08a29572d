/** Brokers whose objects were deleted, and made anew with their volumes. */
import { testFaults, testKills, testPeace } from "./testing/suite.ts";

testPeace("returning");
testKills("returning");
testFaults("returning");

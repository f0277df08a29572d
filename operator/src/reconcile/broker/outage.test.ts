/** A cluster that does not answer for a moment. */
import { testPeace } from "./testing/suite.ts";

testPeace("outage");

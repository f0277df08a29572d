/** For tests of any package. */
export { manualClock, meanRandom } from "./manual-clock.ts";
export { within } from "./within.ts";

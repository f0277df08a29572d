/** What needs Node: threads for tests. */
export { Apart } from "./apart.ts";

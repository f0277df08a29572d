export { beginCleaning } from "./cleaning-thread.ts";

export { openSqliteStore } from "./sqlite.ts";

/**
 * `npm run test:languages`: clients in other languages, from the .proto files alone. Fetches their
 * tools first where they are missing; what cannot be had is skipped by name.
 * `npm run test:languages -- PATTERN…` runs only the test files whose path contains one of the
 * patterns.
 */
import { fileURLToPath } from "node:url";
import { runTests } from "../run-tests.ts";
import { filesOf } from "../tiers.ts";
import { fetchKits } from "./fetch.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
// With the tests, less than five minutes also where nothing is there yet.
fetchKits(220_000);
runTests(root, filesOf(root, "test:languages"), process.argv.slice(2));

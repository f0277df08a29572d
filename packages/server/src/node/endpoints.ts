/** The file that tells scripts where the server listens. */
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Writes `endpoints.json` into the data directory. Whoever waits for the file finds all of it, or
 * that of the last start.
 */
export const writeEndpoints = (directory: string, endpoints: object): void => {
  const path = join(directory, "endpoints.json");
  const temporary = `${path}.tmp`;
  writeFileSync(temporary, `${JSON.stringify(endpoints)}\n`);
  renameSync(temporary, path);
};

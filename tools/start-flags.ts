/** Node's flags of `npm start`: what is measured and attacked is what users run. */
import { readFileSync } from "node:fs";

const manifest = new URL("../package.json", import.meta.url);

export const startFlags = (): string[] => {
  const { scripts } = JSON.parse(readFileSync(manifest, "utf8"));
  // What is before it belongs to the installation.
  const [, server] = String(scripts.start).split("exec env node ");
  if (server === undefined) throw new Error("`npm start` does not start Node as it did");
  return server.split(" ").filter((word) => word.startsWith("--"));
};

/** How `npm start` starts Node: what is measured and attacked is what users run. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = new URL("../", import.meta.url);

/** What is before it belongs to the installation. */
const command = (): string[] => {
  const { scripts } = JSON.parse(readFileSync(new URL("package.json", root), "utf8"));
  const [, words] = String(scripts.start).split(" exec env ");
  if (words === undefined) throw new Error("`npm start` does not start Node as it did");
  return words.split(" ");
};

/** Node's flags. */
export const startFlags = (): string[] => command().filter((word) => word.startsWith("--"));

/** The environment, with the variables of the command. */
export const startEnv = (): NodeJS.ProcessEnv => {
  const compileCache = fileURLToPath(new URL(".cache/compile", root));
  if (!command().includes("NODE_COMPILE_CACHE=.cache/compile")) {
    throw new Error("`npm start` keeps compiled sources elsewhere");
  }
  return { ...process.env, NODE_COMPILE_CACHE: compileCache };
};

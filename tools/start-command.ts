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

/** Variables of the environment. */
export const startVariables = (): Readonly<Record<string, string>> => {
  const words = command();
  const pairs = words.slice(0, words.indexOf("node")).map((word) => word.split("="));
  const variables: Record<string, string> = Object.fromEntries(pairs);
  if (variables["NODE_COMPILE_CACHE"] !== ".cache/compile") {
    throw new Error("`npm start` keeps compiled sources elsewhere");
  }
  return { ...variables, NODE_COMPILE_CACHE: fileURLToPath(new URL(".cache/compile", root)) };
};

/** The environment, with the variables of the command. */
export const startEnv = (): NodeJS.ProcessEnv => ({ ...process.env, ...startVariables() });

/** The command lines of the programs that test and measure. */
import { type ParseArgsConfig, parseArgs } from "node:util";

/** Says what is wrong with a command line, and ends the process with 2. */
export const refuse = (text: string, usage: string): never => {
  console.error(`error: ${text}\n${usage}`);
  process.exit(2);
};

/**
 * The options that this process was started with; nothing but options is taken. `--help` prints the
 * usage and ends the process with 0.
 */
export const commandLine = <const T extends NonNullable<ParseArgsConfig["options"]>>(
  usage: string,
  options: T,
) => {
  if (process.argv.slice(2).includes("--help")) {
    console.log(usage);
    process.exit(0);
  }
  try {
    return parseArgs({ options, strict: true }).values;
  } catch (thrown) {
    return refuse(thrown instanceof Error ? thrown.message : String(thrown), usage);
  }
};

/** A number above 0. A campaign of no minutes would end at once, and look clean. */
export const above0 = (name: string, text: string, usage: string): number => {
  const value = Number(text);
  if (value > 0 && Number.isFinite(value)) return value;
  return refuse(`--${name} ${text} is not allowed: use a number above 0`, usage);
};

/** A whole number from 0 on. */
export const whole = (name: string, text: string, usage: string): number => {
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  return refuse(`--${name} ${text} is not allowed: use a whole number from 0 on`, usage);
};

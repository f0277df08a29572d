/** Runs a program to its end. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { systemPath } from "./machine.ts";

const deadlineMs = 60_000;
const outputBytesMax = 64 * 1024 * 1024;

/** What it printed; throws, with what it said, where it fails or does not end in a minute. */
export const run = async (program: string, args: readonly string[]): Promise<string> => {
  const env = { ...process.env, PATH: systemPath() };
  const options = { env, timeout: deadlineMs, maxBuffer: outputBytesMax };
  const { stdout } = await promisify(execFile)(program, [...args], options);
  return stdout;
};

/** What it printed, or nothing where it fails. */
export const runOrNothing = async (program: string, args: readonly string[]): Promise<string> => {
  try {
    return await run(program, args);
  } catch {
    return "";
  }
};

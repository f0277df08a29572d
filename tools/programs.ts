/** Programs of the distribution: where they are, and what they print. */
import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const programPath = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/** Programs of the distribution are found also where the caller's path is short. */
export const systemPath = (): string => [process.env["PATH"] ?? "", ...programPath].join(":");

/** The path of a program, or undefined where it is not installed. */
export const programAt = (name: string): string | undefined =>
  systemPath()
    .split(":")
    .filter((directory) => directory !== "")
    .map((directory) => join(directory, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });

const outputBytesMax = 64 * 1024 * 1024;

export interface RunOptions {
  readonly cwd?: string;
  /** A minute where it is missing. */
  readonly deadlineMs?: number;
}

/** What it printed; throws, with what it said, where it fails or does not end in time. */
export const run = async (
  program: string,
  args: readonly string[],
  { cwd, deadlineMs = 60_000 }: RunOptions = {},
): Promise<string> => {
  const env = { ...process.env, PATH: systemPath() };
  const options = { cwd, env, timeout: deadlineMs, maxBuffer: outputBytesMax };
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

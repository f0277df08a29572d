/**
 * Keeps the compiled code of the installed package for the next start, as
 * `@millrace/env/compile-cache` does in a clone. The package itself may lie where its users cannot
 * write, and a directory for temporary files is where others can: this is code.
 */
import module from "node:module";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/** The user's directory for caches; undefined for a user that has no home. */
const caches = (): string | undefined => {
  const told = process.env["XDG_CACHE_HOME"] ?? "";
  if (isAbsolute(told)) return told;
  try {
    return join(homedir(), ".cache");
  } catch {
    return undefined;
  }
};

const directory = caches();
if (directory !== undefined) {
  // Node has it since 22.1. Where the directory cannot be written, nothing is kept.
  module.enableCompileCache?.(join(directory, "millrace", "compile"));
}

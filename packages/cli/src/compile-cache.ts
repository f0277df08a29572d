/**
 * Keeps the compiled code of the installed package for the next start, as
 * `@millrace/env/compile-cache` does in a clone. The package itself may lie where its users cannot
 * write, and a directory for temporary files is where others can: this is code.
 */
import module from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";

const caches = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
// Node has it since 22.1. Where the directory cannot be written, nothing is kept, and that is all.
module.enableCompileCache?.(join(caches, "millrace", "compile"));

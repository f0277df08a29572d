/**
 * Keeps compiled sources for the next start: import it before what should be kept, and the rest
 * with `import()`. Where the installation cannot be written, nothing is kept, and that is all.
 * `NODE_DISABLE_COMPILE_CACHE=1` turns it off. Servers get the same by `NODE_COMPILE_CACHE` in the
 * start script, before any type is stripped.
 */
import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

// Not the system's directory for temporary files: others may write there, and this is code.
enableCompileCache(fileURLToPath(new URL("../../../../.cache/compile", import.meta.url)));

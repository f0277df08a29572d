#!/usr/bin/env node
/** Entry of `millrace`. */
import { build } from "@millrace/server/build";

// The package is plain JavaScript; the sources of a clone need a Node that strips types.
const oldest = build === undefined ? 24 : 22;
const [major = 0] = process.versions.node.split(".").map(Number);
if (major < oldest) {
  const advice =
    build === undefined ? "run ./millrace, which brings its own" : `use Node ${oldest} or newer`;
  process.stderr.write(
    `error: UNSUPPORTED_OPERATION: Node ${process.versions.node} is too old: ${advice}\n`,
  );
  process.exit(2);
}
process.env["UV_THREADPOOL_SIZE"] ||= "8";
if (build === undefined) await import("@millrace/env/compile-cache");
else await import("./compile-cache.ts");
// `write` reports failures. Without listeners they would also end the process.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

const { run } = await import("./run.ts");
const { interruptSignal } = await import("./signals.ts");
// The server handles signals itself.
const serving = process.argv[2] === "serve";
const code = await run(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: serving ? new AbortController().signal : interruptSignal(),
  progress: process.stderr.isTTY === true,
  screen: process.stdout.isTTY === true,
  columns: () => process.stdout.columns ?? process.stderr.columns ?? Number.POSITIVE_INFINITY,
});
process.exit(code);

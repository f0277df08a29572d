#!/usr/bin/env node
/** Entry of `millrace`. */
const [major = 0] = process.versions.node.split(".").map(Number);
if (major < 24) {
  process.stderr.write(
    `error: UNSUPPORTED_OPERATION: Node ${process.versions.node} is too old: run it as npx millrace, which brings its own\n`,
  );
  process.exit(2);
}
process.env["UV_THREADPOOL_SIZE"] ??= "8";
process.stdout.on("error", () => {});

const { run } = await import("./run.ts");
const serving = process.argv[2] === "serve";
const controller = new AbortController();
if (!serving) {
  process.once("SIGINT", () => {
    controller.abort();
    process.once("SIGINT", () => process.exit(130));
  });
}
const code = await run(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: controller.signal,
  progress: process.stderr.isTTY === true,
});
process.exit(code);

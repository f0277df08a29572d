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
// `write` reports failures. Without listeners they would also end the process.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

const { run } = await import("./run.ts");
const { Interrupted } = await import("./io.ts");
const controller = new AbortController();
/** Exit codes by signal: 128 and the signal's number. */
const signals = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
// The server handles signals itself.
if (process.argv[2] !== "serve") {
  for (const [name, exitCode] of Object.entries(signals)) {
    process.on(name, () => {
      // A second signal does not wait for anything.
      if (controller.signal.aborted) process.exit(exitCode);
      controller.abort(new Interrupted(exitCode));
    });
  }
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

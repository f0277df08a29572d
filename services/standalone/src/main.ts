/** Entry of `npm start`. */
// Segment writes, the journal and compression share libuv's threads; four would starve them. Before anything uses one.
process.env["UV_THREADPOOL_SIZE"] ??= "8";

const { runServer } = await import("./run.ts");
process.exit(await runServer(process.argv.slice(2)));

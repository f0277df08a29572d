/** Entry of `npm start`. */
// Segment writes, the journal and compression share libuv's thread pool, and its default of four
// threads starves them; it takes an empty value for one. Set before anything uses the pool.
process.env["UV_THREADPOOL_SIZE"] ||= "8";

const { runServer } = await import("./run.ts");
process.exit(await runServer(process.argv.slice(2)));

/** Entry of a broker's process. */
// Segment writes, the journal and compression share libuv's thread pool, and its default of four
// threads starves them; it takes an empty value for one. Set before anything uses the pool.
process.env["UV_THREADPOOL_SIZE"] ||= "8";

const { runProgram } = await import("@millrace/server/node");
const { brokerProgram } = await import("./server.ts");
process.exit(await runProgram(brokerProgram, process.argv.slice(2)));

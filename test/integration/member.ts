/** A member of the group `g` on the topic `t`, for tests that kill it. ADDRESS */
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "@millrace/client";

const client = await connect({ bootstrap: process.argv[2] ?? "" });
const consumer = client.consumer({
  ...{ group: "g", topics: ["t"], from: "earliest" },
  ...{ sessionTimeoutMs: 2_000, autoCommitIntervalMs: 300 },
});
for await (const record of consumer.records()) {
  process.stdout.write(`${record.partition} ${record.offset} ${record.text()}\n`);
  await sleep(1);
}

/** Produces lines of standard input; in `key<TAB>value` the key chooses the partition. ADDRESS TOPIC */
import { createInterface } from "node:readline";
import { connect } from "@millrace/client";

const [bootstrap = "localhost:7400", topic = "events"] = process.argv.slice(2);

await using client = await connect({ bootstrap });
await using producer = client.producer();
for await (const line of createInterface({ input: process.stdin })) {
  const tab = line.indexOf("\t");
  const key = tab < 0 ? null : line.slice(0, tab);
  if (!producer.write({ topic, key, value: line.slice(tab + 1) })) await producer.drained();
}
// Throws where a record could not be stored.
await producer.flush();

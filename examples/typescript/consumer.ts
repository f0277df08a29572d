/** Prints a topic from the start, and then waits for more; --until-end ends there. ADDRESS TOPIC */
import { connect } from "@millrace/client";

const [bootstrap = "localhost:7400", topic = "events", flag] = process.argv.slice(2);

await using client = await connect({ bootstrap });
await using consumer = client.consumer({
  topic,
  from: "earliest",
  untilEnd: flag === "--until-end",
});
for await (const record of consumer.records()) {
  console.log(record.partition, String(record.offset), record.keyText() ?? "", record.text());
}

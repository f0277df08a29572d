/** Prints a topic from the start, and then waits for more; --until-end ends there. ADDRESS TOPIC */
const { connect } = require("@millrace/client");

const [bootstrap = "localhost:7400", topic = "events", flag] = process.argv.slice(2);

const main = async () => {
  const client = await connect({ bootstrap });
  try {
    const untilEnd = flag === "--until-end";
    const consumer = client.consumer({ topic, from: "earliest", untilEnd });
    for await (const record of consumer.records()) {
      console.log(record.partition, String(record.offset), record.keyText() ?? "", record.text());
    }
  } finally {
    await client.close();
  }
};

main();

/** Sends one record. ADDRESS TOPIC KEY VALUE */
const { connect } = require("@millrace/client");

const [bootstrap = "localhost:7400", topic = "events", key = null, value = "hello"] =
  process.argv.slice(2);

const main = async () => {
  const client = await connect({ bootstrap });
  try {
    const producer = client.producer();
    const { partition, offset } = await producer.send({ topic, key, value });
    console.log(`partition ${partition} at offset ${offset}`);
  } finally {
    await client.close();
  }
};

main();

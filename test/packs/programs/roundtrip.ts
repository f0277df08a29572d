/**
 * Writes records to a topic of its own with every compression that this runtime has, and reads them
 * back: `roundtrip HOST:PORT TOPIC`. Ends by itself, because a closed client leaves nothing open.
 */
import * as zlib from "node:zlib";
import {
  type Client,
  connect,
  ErrorCode,
  MillraceError,
  type ProducerOptions,
} from "@millrace/client";

const recordsEach = 500;
const [endpoint = "", topic = ""] = process.argv.slice(2);

/** What a program that TypeScript does not check may do wrong: each says what. */
const checkMistakes = async (client: Client): Promise<void> => {
  const mistakes: readonly (readonly [() => unknown, RegExp])[] = [
    [() => client.admin.createTopic({ name: "x", partitonCount: 6 } as never), /"partitions"/],
    [() => client.producer({ linger: 5 } as never), /"lingerMs"/],
    [() => client.producer().write({ topic: "x", vlaue: "y" } as never), /"value"/],
    [() => connect("localhost" as never), /connect takes one object with bootstrap/],
    [() => connect({ bootstrap: "localhost" }), /"localhost:7400"/],
  ];
  for (const [mistake, text] of mistakes) {
    const thrown: unknown = await Promise.resolve()
      .then(mistake)
      .then(
        () => undefined,
        (error: unknown) => error,
      );
    check(thrown instanceof MillraceError, `${thrown} is no MillraceError`);
    check(text.test(String(thrown)), String(thrown));
    check(/^MillraceError \[INVALID_(REQUEST|RECORD)\]: /.test(String(thrown)), String(thrown));
  }
};

const check = (fine: boolean, what: string): void => {
  if (!fine) throw new Error(what);
};

const main = async (): Promise<void> => {
  const hasZstd = "zstdCompress" in zlib;
  const codecs: NonNullable<ProducerOptions["compression"]>[] = ["none", "gzip", "lz4"];
  if (hasZstd) codecs.push("zstd");
  const client = await connect({ bootstrap: [endpoint] });
  await client.admin.createTopic({ name: topic, partitions: 2 });
  for (const compression of codecs) {
    await using producer = client.producer({ acks: "all", compression });
    for (let n = 0; n < recordsEach; n += 1) {
      const value = `${compression} ${n} ${"mill ".repeat(20)}`;
      const record = { topic, key: `key-${n}`, value, headers: { codec: compression } };
      if (!producer.write(record)) await producer.drained();
    }
    await producer.flush();
  }
  const seen = new Map<string, number>();
  {
    await using consumer = client.consumer({ topic, from: "earliest", untilEnd: true });
    for await (const record of consumer.records()) {
      const [codec = "", n] = (record.text() ?? "").split(" ");
      check(record.keyText() === `key-${n}`, `key of ${codec} ${n}`);
      check(record.header("codec") === codec, `header of ${codec} ${n}`);
      seen.set(codec, (seen.get(codec) ?? 0) + 1);
    }
  }
  for (const codec of codecs)
    check(seen.get(codec) === recordsEach, `${codec}: ${seen.get(codec)}`);
  await checkMistakes(client);
  try {
    await client.admin.deleteTopic({ name: `${topic}-not` });
    check(false, "a topic that is not there was deleted");
  } catch (thrown) {
    check(thrown instanceof MillraceError, `${thrown} is no MillraceError`);
    const { code } = thrown as MillraceError;
    check(code === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `code ${code}`);
  }
  await client.close();
  console.log(`read back: ${codecs.join(", ")}`);
};

void main();

/**
 * `node bench/deploy/members.ts --endpoint H:P --topic T --group G`: members of a group in one
 * process, each with a client of its own. Standard input says who comes and goes, a line each: `add
 * NAME [INSTANCE_ID]`, `remove NAME`. Standard output says what happened to them, with the time in
 * milliseconds since the Unix epoch: `got|gave|read NAME PARTITION TIME`, `in|out NAME - TIME`.
 */
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Client, connect, type GroupConsumer } from "@millrace/client";

const { values } = parseArgs({
  options: {
    endpoint: { type: "string", default: "127.0.0.1:7400" },
    topic: { type: "string", default: "deploy" },
    group: { type: "string", default: "deploy" },
  },
});

/** Lines are written together: a write each would be most of the work. */
const writeEveryMs = 50;
let lines: string[] = [];

const say = (what: string, member: string, partition: number | "-"): void => {
  const atMs = performance.timeOrigin + performance.now();
  lines.push(`${what} ${member} ${partition} ${atMs.toFixed(1)}\n`);
};

interface Member {
  readonly client: Client;
  readonly consumer: GroupConsumer;
  readonly reading: Promise<void>;
}

const members = new Map<string, Member>();

const read = async (name: string, consumer: GroupConsumer): Promise<void> => {
  for await (const { partition } of consumer.batches()) say("read", name, partition);
};

const add = async (name: string, instanceId: string | undefined): Promise<void> => {
  const client = await connect({ bootstrap: values.endpoint.split(",") });
  const each = (what: string) => (partitions: readonly { readonly partition: number }[]) => {
    for (const { partition } of partitions) say(what, name, partition);
  };
  const consumer = client.consumer({
    group: values.group,
    topics: [values.topic],
    from: "latest",
    ...(instanceId === undefined ? {} : { instanceId }),
    onAssigned: each("got"),
    onRevoked: each("gave"),
    onLost: each("gave"),
  });
  members.set(name, { client, consumer, reading: read(name, consumer) });
  say("in", name, "-");
};

const remove = async (name: string): Promise<void> => {
  const member = members.get(name);
  members.delete(name);
  if (member === undefined) return;
  await member.consumer.close();
  await member.reading;
  await member.client.close();
  say("out", name, "-");
};

const writing = async (): Promise<void> => {
  for (;;) {
    await sleep(writeEveryMs, undefined, { ref: false });
    if (lines.length === 0) continue;
    process.stdout.write(lines.join(""));
    lines = [];
  }
};

void writing();
for await (const line of createInterface({ input: process.stdin })) {
  const [command = "", name = "", instanceId] = line.split(" ");
  if (command === "add") await add(name, instanceId);
  else if (command === "remove") await remove(name);
}
await Promise.all([...members.keys()].map(remove));
process.stdout.write(lines.join(""));
process.exit(0);

/** Producers and consumers of a run. Everything they are told goes into the log of the run. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, MillraceError } from "@millrace/client";
import { SeededRandom } from "@millrace/sim";
import type { FinalLog } from "./checker.ts";
import { partitionCount, topic } from "./cluster.ts";
import { contentOf, type Happening, nameOf } from "./history.ts";

export type Tell = (happening: Happening) => void;

/** Pause between two sends, ms. */
const paceMs = 10;
/** Sends at once, from time to time: they share a batch. */
const burst = 20;
/** Sends without an outcome after which a producer waits. */
const openMax = 4000;
/** Longer than an outage of etcd. */
const deliveryTimeoutMs = 45_000;
/** Longest time that a read of everything may take, ms. */
const readAllMs = 60_000;

const everything = Array.from({ length: partitionCount }, (_, partition) => ({
  ...{ topic, partition, from: "earliest" as const },
}));

const nameIn = (value: Uint8Array | null): string => nameOf(Buffer.from(value ?? []).toString());

/** Sends until told to stop. Resolves once every send has its outcome. */
export const produce = async (
  client: Client,
  producer: number,
  seed: number,
  tell: Tell,
  signal: AbortSignal,
): Promise<void> => {
  const random = new SeededRandom(seed + producer);
  const sender = client.producer({ acks: "all", deliveryTimeoutMs });
  const open = new Set<Promise<void>>();
  let number = 0;
  const send = (): void => {
    const partition = random.below(partitionCount);
    const value = `${producer}-${number}`;
    tell({ kind: "send", value, producer, number, partition });
    const sent = sender.send({ topic, partition, value: contentOf(producer, number) });
    number += 1;
    const settled = sent.then(
      (done) =>
        tell({ kind: "ack", value, partition: done.partition, offset: Number(done.offset) }),
      (thrown) => {
        tell({ kind: "fail", value, partition, code: MillraceError.from(thrown).codeName });
      },
    );
    open.add(settled);
    void settled.finally(() => open.delete(settled));
  };
  while (!signal.aborted) {
    const count = random.chance(0.02) ? burst : 1;
    if (open.size < openMax) for (let i = 0; i < count; i += 1) send();
    await sleep(paceMs);
  }
  await Promise.all(open);
};

/** Repeats a call until a server answers it. */
export const untilAnswered = async (call: () => Promise<void>): Promise<void> => {
  for (;;) {
    try {
      await call();
      return;
    } catch (thrown) {
      if (!MillraceError.from(thrown).spec.retriable) throw thrown;
      await sleep(100);
    }
  }
};

/** Reads from the beginning, and along, until told to stop. Rejects when the consumer fails. */
export const follow = async (client: Client, tell: Tell, signal: AbortSignal): Promise<void> => {
  const consumer = client.consumer();
  await untilAnswered(() => consumer.assign(everything));
  try {
    for await (const { offset, partition, value } of consumer.records({ signal })) {
      tell({ kind: "read", value: nameIn(value), partition, offset: Number(offset) });
    }
  } catch (thrown) {
    if (!signal.aborted) throw thrown;
  }
};

/** Everything that is in the topic. */
export const readAll = async (client: Client): Promise<FinalLog> => {
  const log = new Map(everything.map(({ partition }) => [partition, new Map<number, string>()]));
  const consumer = client.consumer({ untilEnd: true });
  await untilAnswered(() => consumer.assign(everything));
  const signal = AbortSignal.timeout(readAllMs);
  for await (const { offset, partition, value } of consumer.records({ signal })) {
    log.get(partition)?.set(Number(offset), nameIn(value));
  }
  return log;
};

/**
 * `node member.ts OPTIONS FILE`: a member of a group as a process. It reads the topic of the run
 * until it is told to leave by SIGTERM, and appends to the file what happens, a line for each
 * event: what was written before a `kill -9` is there.
 */
import { openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { type ConsumedRecord, connect, MillraceError } from "@millrace/client";
import { grpcDialer } from "@millrace/rpc/grpc";
import { type Happening, Ledger, type Life, placeOf } from "../../groups/ledger.ts";
import { MemberTap } from "../../groups/member-tap.ts";
import { nameOf } from "../history.ts";
import { nowMs } from "./member-clock.ts";
import { lineOf } from "./member-lines.ts";
import type { MemberOptions } from "./members.ts";

const [text = "", path = ""] = process.argv.slice(2);
const options = JSON.parse(text) as MemberOptions;
const { autoCommit, bodyMs, bootstrap, group, instanceId, name, style, topic } = options;
const file = openSync(path, "a");

class WritingLedger extends Ledger {
  override note(_: Life, memberId: string, happening: Happening): void {
    writeSync(file, lineOf({ ...happening, memberId, atMs: nowMs() }));
  }
}

const clock = { nowMs: 0, trace: () => {} };
const life: Life = { name, group, autoCommit };
const tap = new MemberTap(new WritingLedger(clock), life, { sometimes: () => {} });

const work = async (records: readonly ConsumedRecord[]): Promise<void> => {
  const handedMs = nowMs();
  for (const { offset, partition, value } of records) {
    if (bodyMs > 0) await sleep(bodyMs);
    const processed = {
      place: placeOf({ topic, partition }),
      offset: Number(offset),
      value: nameOf(Buffer.from(value ?? []).toString()),
      handedMs,
    };
    tap.note({ kind: "processed", ...processed });
  }
};

const noted =
  (kind: "assigned" | "revoked" | "lost") =>
  (all: readonly { readonly topic: string; readonly partition: number }[]): void =>
    tap.note({ kind, places: all.map(placeOf) });

/** It may start while nobody can answer. */
const connected = async () => {
  for (;;) {
    try {
      return await connect({ bootstrap, dialer: tap.dialer(grpcDialer()) });
    } catch (thrown) {
      if (!MillraceError.from(thrown).spec.retriable) throw thrown;
      await sleep(200);
    }
  }
};

const client = await connected();
const consumer = client.consumer({
  ...{ group, topics: [topic], autoCommit, from: "earliest", autoCommitIntervalMs: 1000 },
  ...{ sessionTimeoutMs: 6000, rebalanceTimeoutMs: 6000, concurrency: { perPartition: 4 } },
  ...(instanceId === undefined ? {} : { instanceId }),
  onAssigned: noted("assigned"),
  onRevoked: noted("revoked"),
  onLost: noted("lost"),
});

process.once("SIGTERM", () => {
  tap.note({ kind: "leaving" });
  void consumer.close().then(() => process.exit(0));
});

/** Where nothing else does so; what fails comes again. */
const commit = async (): Promise<void> => {
  if (autoCommit) return;
  await consumer.commit().catch((thrown: unknown) => MillraceError.from(thrown));
};
if (!autoCommit) setInterval(() => void commit(), 1000);

if (style === "process") await consumer.process((record) => work([record]));
else if (style === "batches") {
  for await (const { records } of consumer.batches()) await work(records);
} else {
  for await (const record of consumer.records()) await work([record]);
}

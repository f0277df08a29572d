/** Groups in a run: members beside the other clients, and what must hold of them in the end. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, MillraceError } from "@millrace/client";
import { groupStateTopic } from "@millrace/metadata";
import { GroupState } from "@millrace/proto/group";
import { Check, type Records } from "../../groups/check.ts";
import { GroupLog, groupRecordOf } from "../../groups/group-log.ts";
import { type Event, type FetchedOffsets, type Place, placeOf } from "../../groups/ledger.ts";
import type { FinalLog, Violation } from "../checker.ts";
import { type Tell, untilAnswered } from "../clients.ts";
import { nowMs } from "./member-clock.ts";
import { groupNames, Members } from "./members.ts";

/** How often it is asked what is committed, ms. */
const askMs = 400;
/** Longest time until groups are stable and have read everything, ms. */
const settleMs = 120_000;
/** Longest read of the log of groups, ms. */
const readMs = 60_000;

export interface GroupCounts {
  readonly lives: number;
  /** How lives ended, and what came between. */
  readonly fates: ReadonlyMap<string, number>;
  readonly processed: number;
  /** Of them, those that some member of the group had processed before. */
  readonly repeats: number;
  readonly commits: number;
  readonly expelled: number;
  readonly replaced: number;
  readonly violations: readonly Violation[];
}

type Asked = Omit<FetchedOffsets, "invoked" | "returned"> & {
  readonly fromMs: number;
  readonly toMs: number;
};

export class GroupRun {
  readonly #client: Client;
  readonly #members: Members;
  readonly #topic: string;
  readonly #asked: Asked[] = [];
  readonly #stop = new AbortController();
  readonly #violations: Violation[] = [];
  readonly #asking: Promise<void>;

  constructor(
    client: Client,
    at: { readonly directory: string; readonly bootstrap: readonly string[]; topic: string },
    seed: number,
    tell: Tell,
  ) {
    this.#client = client;
    this.#topic = at.topic;
    this.#members = new Members(at.directory, at, seed, tell);
    this.#members.start();
    this.#asking = this.#ask();
  }

  /** Whatever happens, no process is left. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#asking;
    await this.#members.stop();
    await this.#client.close();
  }

  /** After the faults: every group gets stable, and reads to the end; then all leave. */
  async conclude(final: FinalLog): Promise<GroupCounts> {
    const records = recordsOf(this.#topic, final);
    this.#members.calm();
    const endMs = nowMs() + settleMs;
    for (const group of groupNames) {
      for (;;) {
        const missing = await this.#missing(group, final);
        if (missing === undefined) break;
        if (nowMs() > endMs) {
          this.#violations.push({ promise: "group", text: `G9: ${group}: ${missing}` });
          break;
        }
        await sleep(200);
      }
    }
    this.#stop.abort();
    await this.#asking;
    await this.#members.stop();
    return this.#check(records);
  }

  async #ask(): Promise<void> {
    for (let turn = 0; !this.#stop.signal.aborted; turn += 1) {
      await sleep(askMs, undefined, { signal: this.#stop.signal }).catch(() => {});
      const group = groupNames[turn % groupNames.length] ?? "";
      const fromMs = nowMs();
      const found = await this.#tried(() => this.#client.admin.fetchOffsets({ group }));
      if (found === undefined) continue;
      const offsets = new Map(
        found.map((one) => {
          const tag = Buffer.from(one.metadata).toString();
          return [placeOf(one), { offset: Number(one.offset), tag }];
        }),
      );
      this.#asked.push({ group, fromMs, toMs: nowMs(), offsets });
    }
  }

  /** Undefined while nobody can answer. */
  async #tried<T>(ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (thrown) {
      const { codeName, spec } = MillraceError.from(thrown);
      if (!spec.retriable && codeName !== "GROUP_ID_NOT_FOUND") throw thrown;
      return undefined;
    }
  }

  async #missing(group: string, final: FinalLog): Promise<string | undefined> {
    const told = await this.#tried(() => this.#client.admin.describeGroup({ group }));
    if (told === undefined) return "nobody describes it";
    const { members, state, topics } = told;
    if (state !== GroupState.STABLE) return `it is ${GroupState[state]}`;
    const living = this.#members.living(group);
    if (members.length !== living) return `it has ${members.length} members, and ${living} live`;
    const partitions = topics.flatMap((one) => one.partitions);
    if (partitions.length < final.size) return `it knows ${partitions.length} partitions`;
    for (const { committed, memberId, partition } of partitions) {
      if (memberId === "") return `partition ${partition} is nobody's`;
      const end = endOf(final.get(partition));
      const at = Number(committed?.offset ?? 0n);
      if (at < end) return `partition ${partition} is committed at ${at} of ${end}`;
    }
    return undefined;
  }

  async #check(records: Records): Promise<GroupCounts> {
    const log = await this.#readLog();
    const events = this.#members.events();
    const fetched = this.#asked.map(({ fromMs, toMs, ...one }) => ({
      ...one,
      invoked: countBefore(events, fromMs),
      returned: countBefore(events, toMs),
    }));
    const check = new Check({ ledger: { events, fetched }, log, records, finished: groupNames });
    check.run();
    const found = check.violations.map((text): Violation => ({ promise: "group", text }));
    const groups = [...log.groups.values()];
    const sum = (count: (group: (typeof groups)[number]) => number): number =>
      groups.reduce((all, group) => all + count(group), 0);
    return {
      lives: this.#members.lives,
      fates: this.#members.counts,
      processed: events.filter(({ kind }) => kind === "processed").length,
      repeats: check.repeats,
      commits: sum(({ commits }) => [...commits.values()].flat().length),
      expelled: events.filter(({ kind }) => kind === "lost").length,
      replaced: sum(({ replaced }) => replaced),
      violations: [...this.#violations, ...found],
    };
  }

  async #readLog(): Promise<GroupLog> {
    let log = new GroupLog(() => this.#topic);
    await untilAnswered(async () => {
      log = new GroupLog(() => this.#topic);
      const consumer = this.#client.consumer({ untilEnd: true });
      await consumer.assign([{ topic: groupStateTopic, from: "earliest" }]);
      const signal = AbortSignal.timeout(readMs);
      for await (const { key, offset, value } of consumer.records({ signal })) {
        const record = key === null ? undefined : groupRecordOf(key, value ?? undefined);
        if (record !== undefined) log.add(record, Number(offset));
      }
      await consumer.close();
    });
    return log;
  }
}

/** The log has no gap. */
const endOf = (records: ReadonlyMap<number, string> | undefined): number => records?.size ?? 0;

const recordsOf = (topic: string, final: FinalLog): Records =>
  new Map<Place, ReadonlyMap<number, string>>(
    [...final].map(([partition, records]) => [placeOf({ topic, partition }), records]),
  );

/** Events before a time; they are in its order. */
const countBefore = (events: readonly Event[], ms: number): number => {
  const at = events.findIndex(({ atMs }) => atMs >= ms);
  return at < 0 ? events.length : at;
};

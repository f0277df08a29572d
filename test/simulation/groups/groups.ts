/**
 * Groups in a simulated cluster: members that come, go, hang, die, come back and change what they
 * want, beside the other clients of the run, and what must hold of it all.
 */
import assert from "node:assert/strict";
import type { Client } from "@millrace/client/core";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { groupStateTopic } from "@millrace/metadata";
import { GroupState } from "@millrace/proto/group";
import { SeededRandom } from "@millrace/sim";
import { Check, type Records } from "../../groups/check.ts";
import { GroupLog, groupRecordOf, resetTag } from "../../groups/group-log.ts";
import { type Ledger, type Place, placeOf } from "../../groups/ledger.ts";
import { isForeignStore, makeTopic, untilReached } from "../history.ts";
import { Member, type MemberContext } from "./member.ts";
import { Register } from "./register.ts";

/** The topic of the other clients, which all groups read. */
const topic = "t";

export interface GroupsOptions extends Omit<MemberContext, "random" | "ledger"> {
  readonly seed: number;
  readonly ledger: Ledger;
  /** A client that never dies. */
  readonly lasting: (name: string) => Client;
  /** Links of these hosts may fail. */
  readonly exposes: (hosts: readonly string[]) => void;
  readonly sleep: (ms: number) => Promise<void>;
  /** Clients may be told that there is no such topic. */
  readonly mayVanish: boolean;
}

/** A place for a member, which has one life after the other. */
interface Slot {
  readonly group: string;
  readonly host: string;
  lives: number;
  instanceId: string | undefined;
  member: Member | undefined;
}

/** Members of each group. */
const groupSizes = [3, 2] as const;
const shardCounts = [1, 3, 5] as const;
/** Longest time until groups are stable, and have read all, once nothing is wrong any more, ms. */
const settleMs = 90_000;

/** Longer than any session, ms. */
const quietMs = 10_000;

/** How lives end, and what comes between. */
const fates = [
  ...(["leaves", "leaves", "dies", "dies", "loses power"] as const),
  ...(["hangs", "hangs"] as const),
] as const;

/** What ends a loop while somebody else has the name, or the store is another one. */
const endings: readonly ErrorCode[] = [
  ErrorCode.FENCED_INSTANCE_ID,
  ErrorCode.UNRELEASED_INSTANCE_ID,
];

export class Groups {
  readonly #options: GroupsOptions;
  /** Its own: the other clients of a seed do the same with it and without. */
  readonly #random: SeededRandom;
  readonly #slots: readonly Slot[];
  readonly #register: Register;
  #asker: Client | undefined;
  #isEnding = false;
  #resets = 0;

  constructor(options: GroupsOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed ^ 0x3ad8025f);
    this.#slots = groupSizes.flatMap((size, group) =>
      Array.from({ length: size }, (_, i) => ({
        ...{ group: `group-${group}`, host: `m${group}${i}`, lives: 0, member: undefined },
        instanceId: this.#random.chance(0.4) ? `static-${group}-${i}` : undefined,
      })),
    );
    const { kernel, lasting, sleep } = options;
    const { marks } = kernel;
    this.#register = new Register({ random: this.#random, marks, lasting, sleep });
  }

  /** Makes the topic of groups, smaller than coordinators would. */
  async begin(configs: Record<string, string>): Promise<void> {
    const { exposes, lasting } = this.#options;
    exposes(this.#slots.map(({ host }) => host));
    const kept = { "retention.ms": "-1", "retention.bytes": "-1" };
    const made = { name: groupStateTopic, partitions: this.#random.pick(shardCounts) };
    await makeTopic(lasting("founder"), { ...configs, ...kept }, made);
    this.#asker = lasting("asker-of-groups");
    await untilReached(async () => void (await this.#ask.admin.cluster()));
    await this.#register.begin();
  }

  get #ask(): Client {
    assert.ok(this.#asker !== undefined, "groups have begun");
    return this.#asker;
  }

  /** Goes on until `working` says no, and members beyond that, until `finish`. */
  async run(working: () => boolean, onFailed: (thrown: unknown) => void): Promise<void> {
    for (const slot of this.#slots) void this.#occupy(slot, working).catch(onFailed);
    await Promise.all([this.#look(working), this.#register.run(working)]);
  }

  async #occupy(slot: Slot, working: () => boolean): Promise<void> {
    const { kernel, sleep } = this.#options;
    const random = this.#random;
    while (!this.#isEnding) {
      const member = this.#begin(slot);
      await this.#live(member, working);
      const error = await member.over;
      if (error !== undefined) {
        kernel.marks.sometimes(`groups: a loop ends: ${error.codeName}`);
        const mayEnd = endings.includes(error.code) || error.spec.retriable;
        if (!mayEnd && !(this.#options.mayVanish && isForeignStore(error))) throw error;
      }
      if (working()) await sleep(random.float() * (random.chance(0.3) ? 4000 : 300));
      else await sleep(300);
      if (random.chance(0.2)) {
        slot.instanceId = random.chance(0.5) ? `renamed-${slot.host}-${slot.lives}` : undefined;
        kernel.marks.sometimes("groups: a member is renamed");
      }
    }
  }

  #begin(slot: Slot): Member {
    const random = this.#random;
    slot.lives += 1;
    const isPattern = random.chance(0.3);
    const topics = isPattern ? [] : random.chance(0.3) ? [topic, "other-1"] : [topic];
    if (isPattern) this.#options.kernel.marks.sometimes("groups: a member subscribes by pattern");
    const { group, host, instanceId } = slot;
    const member = new Member(
      {
        ...{ group, host, instanceId, topics, name: `${host}.${slot.lives}` },
        topicPattern: isPattern ? "t|other-.*" : undefined,
      },
      { ...this.#options, random },
    );
    slot.member = member;
    return member;
  }

  /** Lives for a while, or to the end. */
  async #live(member: Member, working: () => boolean): Promise<void> {
    const { kernel, sleep } = this.#options;
    const random = this.#random;
    while (!member.isOver) {
      await Promise.race([member.over, sleep(200 + random.float() * 6000)]);
      if (member.isOver || !working()) return;
      const fate = random.pick(fates);
      kernel.marks.sometimes(`groups: a member ${fate}`);
      if (fate === "hangs") {
        member.process.pause();
        await sleep(random.float() * (random.chance(0.5) ? 12_000 : 1500));
        member.process.resume();
      } else if (fate === "leaves") await member.close();
      else member.die(fate === "dies" ? "process" : "power");
    }
  }

  /** Asks from time to time what is committed, and goes back in some of it. */
  async #look(working: () => boolean): Promise<void> {
    const { ledger, sleep } = this.#options;
    const random = this.#random;
    while (working()) {
      await sleep(random.float() * 800);
      const { group } = random.pick(this.#slots);
      const invoked = ledger.events.length;
      const found = await this.#tried(() => this.#ask.admin.fetchOffsets({ group }));
      if (found === undefined) continue;
      const offsets = new Map<Place, { offset: number; tag: string }>();
      for (const one of found) {
        const tag = Buffer.from(one.metadata).toString();
        offsets.set(placeOf(one), { offset: Number(one.offset), tag });
      }
      ledger.fetched.push({ group, invoked, returned: ledger.events.length, offsets });
      const [first] = found;
      if (first !== undefined && random.chance(0.1)) await this.#reset(group, first);
    }
  }

  async #reset(group: string, to: { partition: number; offset: bigint; topic: string }) {
    this.#resets += 1;
    const { partition, topic: of } = to;
    const offset = to.offset > 10n ? to.offset - 10n : 0n;
    const metadata = `${resetTag}-${this.#resets}`;
    const offsets = [{ topic: of, partition, offset, metadata }];
    const results = await this.#tried(() => this.#ask.admin.resetOffsets({ group, offsets }));
    if (results?.every(({ error }) => error === undefined) === true)
      this.#options.kernel.marks.sometimes("groups: a position is reset");
  }

  /** Undefined while nobody can answer. */
  async #tried<T>(ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (thrown) {
      const error = MillraceError.from(thrown);
      const isKnown = error.code === ErrorCode.GROUP_ID_NOT_FOUND || isForeignStore(error);
      if (!error.spec.retriable && !isKnown) throw error;
      return undefined;
    }
  }

  /**
   * Nothing is wrong any more: every group gets stable, shares everything, and reads to the end.
   * Then the members leave, and all that happened is held against what the logs say.
   */
  async finish(found: ReadonlyMap<string, string>): Promise<void> {
    const records = recordsOf(found);
    const { kernel, sleep } = this.#options;
    const names = [...new Set(this.#slots.map(({ group }) => group))];
    const endMs = kernel.nowMs + settleMs;
    for (const group of names) {
      for (;;) {
        const missing = await this.#missing(group, records);
        if (missing === undefined) break;
        assert.ok(kernel.nowMs < endMs, `G9: ${group}: ${missing}, ${settleMs} ms after the end`);
        for (const { member } of this.#slots) member?.commit();
        await sleep(200);
      }
    }
    this.#isEnding = true;
    await Promise.all(this.#slots.map(({ member }) => member?.close()));
    await this.#register.finish();
    // Static members are waited for, and expelled; the last records reach every replica.
    await sleep(quietMs);
    await this.#check(names, records);
  }

  /** What a group lacks until it is stable and has read everything. */
  async #missing(group: string, records: Records): Promise<string | undefined> {
    const living = this.#slots.filter((one) => one.group === group && one.member?.isOver === false);
    const told = await this.#tried(() => this.#ask.admin.describeGroup({ group }));
    if (told === undefined) return "nobody describes it";
    if (told.state !== GroupState.STABLE) return `it is ${GroupState[told.state]}`;
    const { members } = told;
    if (members.length !== living.length) {
      return `it has ${members.length} members, and ${living.length} live`;
    }
    const of = told.topics.find((one) => one.topic === topic);
    const owners = (of?.partitions ?? []).map(({ memberId }) => memberId);
    if (owners.length === 0 || owners.includes("")) return `partitions are ${owners}`;
    const counts = members.map(({ assigned }) =>
      assigned.reduce((sum, { partitions }) => sum + partitions.length, 0),
    );
    // Of members that subscribe alike each has as many as another one, or one more.
    const subscriptions = new Set(
      members.map(({ topics, topicPattern }) => `${topics} ${topicPattern}`),
    );
    const isFair = Math.max(...counts) - Math.min(...counts) <= 1 || subscriptions.size > 1;
    if (!isFair) return `it shares the partitions as ${counts}`;
    for (const { committed, partition } of of?.partitions ?? []) {
      const end = Math.max(-1, ...(records.get(`${topic}/${partition}`)?.keys() ?? [])) + 1;
      const at = Number(committed?.offset ?? 0n);
      if (at < end) return `partition ${partition} is committed at ${at} of ${end}`;
    }
    return undefined;
  }

  async #check(finished: readonly string[], records: Records): Promise<void> {
    const { kernel, ledger } = this.#options;
    const log = new GroupLog((id) => ledger.nameOf(id));
    const consumer = this.#ask.consumer({
      untilEnd: true,
      topic: groupStateTopic,
      from: "earliest",
    });
    await untilReached(async () => {
      for await (const { key, offset, value } of consumer.records()) {
        const record = key === null ? undefined : groupRecordOf(key, value ?? undefined);
        if (record !== undefined) log.add(record, Number(offset));
      }
    });
    const check = new Check({ ledger, log, records, finished });
    check.run();
    for (const { replaced, unanswered } of log.groups.values()) {
      if (replaced > 0) kernel.marks.sometimes("groups: a static member is replaced");
      if (unanswered > 0) kernel.marks.sometimes("groups: a revocation is not answered");
    }
    if (check.repeats > 0) kernel.marks.sometimes("groups: records are processed again");
    const { violations } = check;
    kernel.trace(`${ledger.events.length} events of groups, ${check.repeats} repeats`);
    assert.ok(violations.length === 0, `${violations.length} violations: ${violations[0]}`);
  }
}

/** By partition, from `partition@offset`. */
const recordsOf = (found: ReadonlyMap<string, string>): Records => {
  const records = new Map<Place, Map<number, string>>();
  for (const [at, value] of found) {
    const [partition = "", offset] = at.split("@");
    const place = `${topic}/${partition}`;
    const all = records.get(place) ?? new Map<number, string>();
    records.set(place, all);
    all.set(Number(offset), value);
  }
  return records;
};

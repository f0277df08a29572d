/**
 * A shard, its log, and clients that come, go, pause and lose their streams, from a seed. What is
 * sent arrives late and in order; what the shard says is told once the log has it; a coordinator
 * that is replaced loses what was not in the log.
 */
import { assert, MillraceError } from "@millrace/errors";
import type { TopicId } from "@millrace/record";
import type { Target } from "../group/assignments.ts";
import { PartitionMap } from "../group/partition-map.ts";
import type {
  Changes,
  GroupLimits,
  NamePattern,
  Now,
  OffsetToCommit,
  Push,
  Subscription,
  Topic,
} from "../group/types.ts";
import { decodeRecord, type EncodedRecord, encodeRecord } from "../shard/records.ts";
import { Shard, type TargetRequest } from "../shard/shard.ts";
import { TestClient, toCommit } from "./client.ts";
import type { SeededRandom } from "./random.ts";
import { assignSimply } from "./simple-assignor.ts";
import { topicIdAt, topicsOf } from "./topics.ts";

const limits: GroupLimits = {
  membersMax: 1000,
  offsetMetadataBytesMax: 4096,
  offsetsRetentionMs: 7 * 24 * 3600_000,
};

/** What a command changed; told and answered once the log has it. */
interface Pending {
  readonly changes: Changes;
  readonly then: () => void;
}

export const patternOf = (text: string): NamePattern => {
  const expression = new RegExp(`^(?:${text})$`, "v");
  return {
    text,
    matching: (topics) =>
      new Set(
        [...topics].filter(({ name }) => expression.test(name)).map(({ topicId }) => topicId),
      ),
  };
};

export const groupName = "g";

export class World {
  readonly random: SeededRandom;
  readonly clients: TestClient[] = [];
  readonly counts = new Map<string, number>();
  log: EncodedRecord[] = [];
  shard: Shard;
  topics: readonly Topic[];
  #pending: Pending[] = [];
  #targeting: { readonly request: TargetRequest; readonly target: Target } | undefined;
  #nextId = 1;
  #monoMs = 1000;
  /** Members as the log has them. */
  readonly #members = new Set<string>();
  /** Committed offsets as clients were told. */
  readonly acknowledged = new PartitionMap<number>();

  constructor(random: SeededRandom) {
    this.random = random;
    this.topics = [0, 1].map((index) => this.#topic(index, 1 + random.below(6)));
    this.shard = new Shard(limits, topicsOf(this.topics));
    this.shard.loaded(this.now);
  }

  get now(): Now {
    return { monoMs: this.#monoMs, wallMs: 1_700_000_000_000 + this.#monoMs };
  }

  #topic(index: number, partitionCount: number): Topic {
    return { topicId: topicIdAt(index), name: `t${index}`, partitionCount };
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** The log takes what came first, and those concerned are told. */
  commitFirst(): void {
    const first = this.#pending.shift();
    if (first === undefined) return;
    for (const record of first.changes.records) {
      this.log.push(encodeRecord(record));
      if (record.kind !== "member") continue;
      if (record.value === undefined) this.#members.delete(record.memberId);
      else this.#members.add(record.memberId);
    }
    for (const push of first.changes.pushes) this.#deliver(push);
    first.then();
  }

  get isIdle(): boolean {
    return this.#pending.length === 0 && this.#targeting === undefined;
  }

  #deliver(push: Push): void {
    const client = this.clients.find(({ session }) => session === push.session);
    client?.inbox.push(push);
  }

  #queue(changes: Changes, then: () => void = () => {}): void {
    this.#pending.push({ changes, then });
  }

  newClient(subscription: Subscription): TestClient {
    const client = new TestClient(`m${this.#nextId}`, subscription);
    this.#nextId += 1;
    this.clients.push(client);
    return client;
  }

  /** Clients that are no members, and are told nothing any more. */
  forgetGone(): void {
    const present = this.clients.filter(({ joined, session }) => joined || session !== undefined);
    this.clients.splice(0, this.clients.length, ...present);
  }

  /** A client without a stream opens one, anew or again. */
  connect(client: TestClient): void {
    if (client.session !== undefined) return;
    this.#nextId += 1;
    const session = this.#nextId;
    const { memberEpoch, memberId, subscription } = client;
    const owned = client.ownedSet();
    const returning = client.joined ? { memberEpoch, owned } : undefined;
    if (returning === undefined && this.shard.groups.get(groupName)?.members.has(memberId)) return;
    try {
      const joining = { memberId, session, subscription, returning };
      const { changes } = this.shard.join(groupName, joining, this.now);
      client.connect(session);
      this.#queue(changes, () => {
        if (client.session === session) client.joined = true;
      });
      this.count(returning === undefined ? "joined" : "came back");
    } catch (thrown) {
      if (!(thrown instanceof MillraceError)) throw thrown;
      this.count(`join: ${thrown.codeName}`);
      client.drop();
    }
  }

  /** The coordinator gets what the client sent first. */
  receive(client: TestClient): void {
    const { memberId, session } = client;
    const sent = client.outbox.shift();
    if (sent === undefined || session === undefined) return;
    const stream = { group: groupName, memberId, session };
    try {
      if (sent.kind === "report") {
        this.#queue(this.shard.report(stream, sent, this.now).changes);
      } else if (sent.kind === "leave") {
        this.#queue(this.shard.leave(stream, sent.temporary, this.now).changes);
        client.drop();
      } else {
        this.#commit(stream, sent.offsets);
      }
    } catch (thrown) {
      if (!(thrown instanceof MillraceError)) throw thrown;
      this.count(`${sent.kind}: ${thrown.codeName}`);
    }
  }

  #commit(
    stream: { group: string; memberId: string; session: number },
    offsets: readonly OffsetToCommit[],
  ): void {
    const group = this.shard.groups.get(groupName);
    const { answer, changes } = this.shard.commit(stream, offsets, this.now);
    const isRefused = ({ topicId, partition }: OffsetToCommit) =>
      answer.some((one) => one.topicId === topicId && one.partition === partition);
    const accepted = offsets.filter((one) => !isRefused(one));
    for (const { topicId, partition } of accepted)
      assert(group?.ownerOf(topicId, partition) === stream.memberId, "only owners commit");
    this.count(answer.length > 0 ? "commit refused in part" : "commit");
    this.#queue(changes, () => this.#acknowledge(accepted));
  }

  #acknowledge(offsets: readonly OffsetToCommit[]): void {
    for (const { topicId, partition, offset } of offsets)
      this.acknowledged.set(topicId, partition, offset);
  }

  /** The client gets what the coordinator told it first. */
  tell(client: TestClient): void {
    const push = client.inbox.shift();
    if (push === undefined) return;
    if (push.kind === "end") {
      client.drop();
      this.count("expelled");
      return;
    }
    this.#checkPositions(client, push);
    client.assign(push, this.random.chance(0.7));
    this.count("assigned");
  }

  /** A position is the latest that was committed, unless another one is on its way. */
  #checkPositions(client: TestClient, push: Extract<Push, { kind: "assignment" }>): void {
    if (client.inbox.length > 0) return;
    const group = this.shard.groups.get(groupName);
    const member = group?.members.get(client.memberId);
    if (member === undefined || member.session !== client.session) return;
    for (const { topicId, partition, committed } of push.positions) {
      if (member.isResetting(topicId, partition) || !member.assigned.has(topicId, partition))
        continue;
      const now = group?.offsets.get(topicId, partition)?.offset;
      assert(committed?.offset === now, "a new owner begins where the last one committed");
    }
  }

  breakStream(client: TestClient): void {
    const { memberId, session } = client;
    if (session === undefined) return;
    while (client.outbox.length > 0 && this.random.chance(0.5)) this.receive(client);
    client.disconnect();
    this.shard.lost({ group: groupName, memberId, session }, this.now);
    this.count("stream broke");
  }

  pass(ms: number): void {
    this.#monoMs += ms;
    this.#queue(this.shard.tick(this.now));
  }

  target(): void {
    if (this.#targeting !== undefined) {
      const { request, target } = this.#targeting;
      this.#targeting = undefined;
      this.#queue(this.shard.takeTarget(request, target, this.now));
      this.count("target");
      return;
    }
    const request = this.shard.nextTarget();
    if (request !== undefined) this.#targeting = { request, target: assignSimply(request) };
  }

  reset(topicId: TopicId, partition: number, offset: number): void {
    try {
      const offsets = [toCommit(topicId, partition, offset)];
      const { changes, answer } = this.shard.reset(groupName, offsets, this.now);
      this.#queue(changes, () => {
        if (answer.length === 0) this.#acknowledge(offsets);
      });
      this.count("reset");
    } catch (thrown) {
      if (!(thrown instanceof MillraceError)) throw thrown;
    }
  }

  changeTopics(): void {
    const at = this.random.below(4);
    const before = this.topics.find(({ name }) => name === `t${at}`);
    const others = this.topics.filter((topic) => topic !== before);
    if (before === undefined) this.topics = [...others, this.#topic(at, 1 + this.random.below(6))];
    else if (this.random.chance(0.3)) this.topics = others;
    else this.topics = [...others, this.#topic(at, before.partitionCount + 1)];
    this.#queue(this.shard.topicsChanged(topicsOf(this.topics)));
    this.count("topics changed");
  }

  /** Another coordinator takes over, with what the log has; some of it may be compacted. */
  failOver(): void {
    this.#pending = [];
    this.#targeting = undefined;
    for (const client of this.clients) client.disconnect();
    this.log = this.random.chance(0.5) ? compacted(this.log, this.random) : this.log;
    this.shard = this.load(this.log);
    this.#queue(this.shard.topicsChanged(topicsOf(this.topics)));
    this.count("failed over");
  }

  load(log: readonly EncodedRecord[]): Shard {
    const shard = new Shard(limits, topicsOf(this.topics));
    for (const encoded of log) {
      const record = decodeRecord(encoded, patternOf);
      if (record !== undefined) shard.replay(record);
    }
    shard.loaded(this.now);
    return shard;
  }

  /** No partition is read by two clients that are members. */
  checkOwners(): void {
    const readers = new PartitionMap<string>();
    for (const client of this.clients) {
      if (!client.joined || !this.#members.has(client.memberId)) continue;
      for (const [topicId, partition] of client.owned) {
        const other = readers.get(topicId, partition);
        assert(other === undefined, `${other} and ${client.memberId} read ${topicId}/${partition}`);
        readers.set(topicId, partition, client.memberId);
      }
    }
  }
}

/** Keeps the latest record of each key up to some place, as compaction does. */
const compacted = (log: readonly EncodedRecord[], random: SeededRandom): EncodedRecord[] => {
  const upTo = random.below(log.length + 1);
  const latest = new Map(log.map(({ key }, index) => [Buffer.from(key).toString("hex"), index]));
  const forgetsDeleted = random.chance(0.5);
  return log.filter(({ key, value }, index) => {
    if (index >= upTo) return true;
    const isLatest = latest.get(Buffer.from(key).toString("hex")) === index;
    return isLatest && !(forgetsDeleted && value === undefined);
  });
};

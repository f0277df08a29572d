/** A member as a client implements it: it reads what it is given, commits, and reports. */
import { assert } from "@millrace/errors";
import type { TopicId } from "@millrace/record";
import { PartitionMap, PartitionSet } from "../group/partition-map.ts";
import type { MemberId, OffsetToCommit, Push, Session, Subscription } from "../group/types.ts";

/** What a client has sent, and the coordinator has not had yet. */
export type Sent =
  | { readonly kind: "commit"; readonly offsets: readonly OffsetToCommit[] }
  | { readonly kind: "report"; readonly revision: number; readonly owned: PartitionSet }
  | { readonly kind: "leave"; readonly temporary: boolean };

type AssignmentPush = Extract<Push, { readonly kind: "assignment" }>;

export class TestClient {
  readonly memberId: MemberId;
  readonly subscription: Subscription;
  /** Positions of what it reads. */
  readonly owned = new PartitionMap<number>();
  readonly outbox: Sent[] = [];
  readonly inbox: Push[] = [];
  /** Of the open stream. */
  session: Session | undefined;
  memberEpoch = 0;
  /** It has been told that it is a member. */
  joined = false;
  #revision = 0;

  constructor(memberId: MemberId, subscription: Subscription) {
    this.memberId = memberId;
    this.subscription = subscription;
  }

  /** Its stream is gone, with everything that was on its way. */
  disconnect(): void {
    this.session = undefined;
    this.outbox.length = 0;
    this.inbox.length = 0;
  }

  connect(session: Session): void {
    this.session = session;
    this.#revision = 0;
  }

  /** It is no member any more, and knows it. */
  drop(): void {
    this.disconnect();
    this.owned.clear();
    this.joined = false;
    this.memberEpoch = 0;
  }

  ownedSet(): PartitionSet {
    const set = new PartitionSet();
    for (const [topicId, partition] of this.owned) set.add(topicId, partition);
    return set;
  }

  /** Reads on in one partition. */
  read(topicId: TopicId, partition: number, records: number): void {
    const position = this.owned.get(topicId, partition);
    assert(position !== undefined, "reads what it owns");
    this.owned.set(topicId, partition, position + records);
  }

  commit(): void {
    const offsets = [...this.owned].map(([topicId, partition, offset]) =>
      toCommit(topicId, partition, offset),
    );
    if (offsets.length > 0) this.outbox.push({ kind: "commit", offsets });
  }

  report(): void {
    const owned = this.ownedSet();
    this.outbox.push({ kind: "report", revision: this.#revision, owned });
  }

  /** Applies an assignment: gives up what is gone, after a commit of it, and begins what is new. */
  assign(push: AssignmentPush, commits: boolean): void {
    const { assigned, memberEpoch, positions, revision } = push;
    assert(memberEpoch >= this.memberEpoch, "member epochs never fall");
    assert(revision === this.#revision + 1, "revisions rise by one");
    this.memberEpoch = memberEpoch;
    this.#revision = revision;
    const lost = [...this.owned].filter(
      ([topicId, partition]) => !assigned.has(topicId, partition),
    );
    if (commits && lost.length > 0) {
      const offsets = lost.map(([topicId, partition, offset]) =>
        toCommit(topicId, partition, offset),
      );
      this.outbox.push({ kind: "commit", offsets });
    }
    for (const [topicId, partition] of lost) this.owned.delete(topicId, partition);
    for (const { topicId, partition, committed } of positions)
      this.owned.set(topicId, partition, committed?.offset ?? 0);
    for (const [topicId, partition] of assigned)
      assert(this.owned.has(topicId, partition), "a new partition comes with its position");
    this.report();
  }
}

const noMetadata = new Uint8Array(0);

export const toCommit = (topicId: TopicId, partition: number, offset: number): OffsetToCommit => ({
  ...{ topicId, partition, offset },
  ...{ leaderEpoch: undefined, metadata: noMetadata },
});

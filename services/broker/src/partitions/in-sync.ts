/**
 * What a leader knows of its followers in one leader epoch: how far each is durable, who counts,
 * and the high watermark that follows. Pure: time and offsets come in as arguments.
 *
 * A replica is known with the epoch of its registration. What a broker had made durable before it
 * registered anew may be lost, so it counts for nothing (KIP-903).
 */
import { assert } from "@millrace/errors";

/** A replica under one registration. */
export interface InSyncReplica {
  readonly brokerId: number;
  readonly brokerEpoch: number;
}

/** What the metadata says of the partition. */
export interface InSyncView {
  /** Revision of the record. */
  readonly modRevision: number;
  readonly replicas: readonly number[];
  /** In-sync replicas, the leader among them. */
  readonly isr: readonly InSyncReplica[];
  /** Epoch of a broker's present registration; undefined while it is fenced. */
  registered(brokerId: number): number | undefined;
}

/** A change to ask the controller for. */
export interface InSyncChange {
  /** Revision of the record that it was decided by. */
  readonly modRevision: number;
  readonly isr: readonly InSyncReplica[];
}

/** What became of a change. */
export type ChangeOutcome =
  /** Made: both count until the view has it. */
  | "made"
  /** The answer was lost, so it may have been made, or be made yet. */
  | "unknown"
  /** Nothing of it was done. */
  | "refused";

/** A change that the controller was asked for. */
interface Pending {
  readonly change: InSyncChange;
  isUnderWay: boolean;
  isMade: boolean;
  /** When it was first known to be made, while the view does not have it. */
  madeMs: number | undefined;
  /** An earlier attempt may still be made: a refusal of a later one does not end it. */
  isDoubtful: boolean;
}

/** How far a follower has come. */
interface Progress {
  readonly brokerEpoch: number;
  durableEnd: number;
  /** When it last had everything that the leader had then. */
  caughtUpMs: number;
  /** As of its last report. */
  reportedMs: number;
  leaderEndThen: number;
}

/** Longest wait for a view of a change that was made, ms. */
const viewMsMax = 10_000;

const has = (isr: readonly InSyncReplica[], { brokerId, brokerEpoch }: InSyncReplica): boolean =>
  isr.some((one) => one.brokerId === brokerId && one.brokerEpoch === brokerEpoch);

export class InSyncReplicas {
  readonly #leader: number;
  /** Where the log ended when the leader took over. */
  readonly #epochStart: number;
  readonly #beganMs: number;
  readonly #followers = new Map<number, Progress>();
  #view: InSyncView;
  /** A change that the controller may have made: the union of both counts (KIP-497). */
  #pending: Pending | undefined;
  /** Replicas that hold the high watermark back, but for the leader. */
  #counting: readonly InSyncReplica[] = [];

  constructor(leader: number, epochStart: number, view: InSyncView, nowMs: number) {
    this.#leader = leader;
    this.#epochStart = epochStart;
    this.#view = view;
    this.#beganMs = nowMs;
    this.#recount();
  }

  /** True for a replica that the record has in sync, under this registration. */
  isMember(replica: InSyncReplica): boolean {
    return has(this.#view.isr, replica);
  }

  #recount(): void {
    const { isr } = this.#view;
    const added = this.#pending?.change.isr.filter((one) => !has(isr, one)) ?? [];
    this.#counting = [...isr, ...added].filter(({ brokerId }) => brokerId !== this.#leader);
  }

  /** Takes up a newer record, or a change of registrations. */
  take(view: InSyncView): void {
    assert(view.modRevision >= this.#view.modRevision, "records of a partition do not get older");
    this.#view = view;
    if (this.#pending !== undefined && !this.#mayBeMade(this.#pending.change)) {
      this.#pending = undefined;
    }
    this.#recount();
    for (const [brokerId, { brokerEpoch }] of this.#followers) {
      const registered = view.registered(brokerId);
      const isOver = registered !== undefined && registered > brokerEpoch;
      if (isOver || !view.replicas.includes(brokerId)) this.#followers.delete(brokerId);
    }
  }

  /**
   * A follower is durable up to `durableEnd`, as the leader's log goes up to `leaderEnd`. False,
   * and no effect, where it is none, where its registration is over, and where it claims more than
   * there is.
   */
  report(replica: InSyncReplica, durableEnd: number, leaderEnd: number, nowMs: number): boolean {
    const { brokerId, brokerEpoch } = replica;
    const { replicas } = this.#view;
    if (brokerId === this.#leader || !replicas.includes(brokerId)) return false;
    if (durableEnd > leaderEnd) return false;
    const known = this.#followers.get(brokerId);
    const registered = this.#view.registered(brokerId) ?? brokerEpoch;
    if (brokerEpoch < Math.max(registered, known?.brokerEpoch ?? 0)) return false;
    const isFirst = known === undefined || known.brokerEpoch < brokerEpoch;
    const before = isFirst
      ? {
          brokerEpoch,
          durableEnd,
          caughtUpMs: this.#beganMs,
          reportedMs: nowMs,
          leaderEndThen: leaderEnd,
        }
      : known;
    // Under one registration and one leader it never loses what it had.
    before.durableEnd = Math.max(before.durableEnd, durableEnd);
    if (before.durableEnd >= leaderEnd) before.caughtUpMs = nowMs;
    else if (before.durableEnd >= before.leaderEndThen) before.caughtUpMs = before.reportedMs;
    before.reportedMs = nowMs;
    before.leaderEndThen = leaderEnd;
    this.#followers.set(brokerId, before);
    return true;
  }

  /** How far a replica is durable; 0 while it has not said so under this registration. */
  durableEnd({ brokerId, brokerEpoch }: InSyncReplica): number {
    const known = this.#followers.get(brokerId);
    return known?.brokerEpoch === brokerEpoch ? known.durableEnd : 0;
  }

  /**
   * First offset that not every replica that counts has made durable. The caller raises its high
   * watermark to it, if enough replicas are in sync, and never lowers it.
   */
  committedEnd(ownDurableEnd: number): number {
    let end = ownDurableEnd;
    for (const replica of this.#counting) end = Math.min(end, this.durableEnd(replica));
    return end;
  }

  /**
   * The change to ask for, or undefined: a member that lags for longer than `lagMaxMs` leaves, a
   * replica that has caught up joins. A change whose answer was lost is asked for again as it was,
   * until the view tells. So is one that was made and that no view shows: the store may have gone
   * back since. To be asked several times in `lagMaxMs`: who has everything is silent until the
   * leader appends again, and lags from then on.
   */
  due(
    highWatermark: number,
    leaderEnd: number,
    lagMaxMs: number,
    nowMs: number,
  ): InSyncChange | undefined {
    this.#look(leaderEnd, nowMs);
    if (this.#pending !== undefined) {
      const { change, isMade, isUnderWay } = this.#pending;
      if (isMade) this.#pending.madeMs ??= nowMs;
      const isAwaited = isMade && nowMs - (this.#pending.madeMs ?? nowMs) <= viewMsMax;
      return isAwaited || isUnderWay ? undefined : change;
    }
    const { isr, modRevision, replicas } = this.#view;
    const stays = isr.filter(
      (one) => one.brokerId === this.#leader || !this.#lags(one, lagMaxMs, nowMs),
    );
    const joins = replicas.flatMap((brokerId) => {
      const joining = this.#joining(brokerId, highWatermark);
      // A member that lags has all that is committed, too: it holds that back.
      return joining === undefined || has(isr, joining) ? [] : [joining];
    });
    const kept = stays.filter(({ brokerId }) => joins.every((one) => one.brokerId !== brokerId));
    const next = [...kept, ...joins];
    const isSame = next.length === isr.length && next.every((one) => has(isr, one));
    const change = { modRevision, isr: next };
    // The controller takes out a broker that is not registered any more.
    return isSame || !this.#mayBeMade(change) ? undefined : change;
  }

  /** The change is on its way: from here on the union of both counts. */
  begin(change: InSyncChange): void {
    const unknown = { isUnderWay: false, isMade: false, madeMs: undefined, isDoubtful: false };
    this.#pending ??= { change, ...unknown };
    const pending = this.#pending;
    assert(pending.change === change && !pending.isUnderWay, "one change of a partition at a time");
    pending.isUnderWay = true;
    // A refusal may come from what followed it.
    pending.isDoubtful ||= pending.isMade;
    Object.assign(pending, { isMade: false, madeMs: undefined });
    this.#recount();
  }

  /** What became of it. */
  end(change: InSyncChange, outcome: ChangeOutcome): void {
    const pending = this.#pending;
    if (pending?.change !== change) return;
    pending.isUnderWay = false;
    if (outcome === "made") pending.isMade = true;
    else if (outcome === "unknown") pending.isDoubtful = true;
    else if (!pending.isDoubtful) this.#pending = undefined;
    this.#recount();
  }

  /**
   * Whether the change may still be made, or have been made unseen. The controller makes it on the
   * record that it was decided by, and under the registrations that it names. No registration comes
   * back, and the view has the change before what came after it.
   */
  #mayBeMade({ isr, modRevision }: InSyncChange): boolean {
    const { modRevision: seen, registered } = this.#view;
    return (
      seen === modRevision &&
      isr.every(({ brokerId, brokerEpoch }) => registered(brokerId) === brokerEpoch)
    );
  }

  /** Silence is no lag as long as a follower has everything. */
  #look(leaderEnd: number, nowMs: number): void {
    for (const known of this.#followers.values()) {
      if (known.durableEnd >= leaderEnd) known.caughtUpMs = nowMs;
    }
  }

  #lags(replica: InSyncReplica, lagMaxMs: number, nowMs: number): boolean {
    const known = this.#followers.get(replica.brokerId);
    const isSame = known?.brokerEpoch === replica.brokerEpoch;
    // One that has said nothing yet had this epoch's whole time to do so.
    const caughtUpMs = isSame ? known.caughtUpMs : this.#beganMs;
    return nowMs - caughtUpMs > lagMaxMs;
  }

  /** A follower that may join: with all that is committed, and all that was before this epoch. */
  #joining(brokerId: number, highWatermark: number): InSyncReplica | undefined {
    const known = this.#followers.get(brokerId);
    if (known === undefined || this.#view.registered(brokerId) !== known.brokerEpoch)
      return undefined;
    const enough = known.durableEnd >= Math.max(highWatermark, this.#epochStart);
    return enough ? { brokerId, brokerEpoch: known.brokerEpoch } : undefined;
  }
}

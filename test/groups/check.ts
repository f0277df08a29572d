/**
 * Holds what members did and were told against the logs of the shards and of the partitions. Each
 * violation begins with the name of its invariant:
 *
 * - G1: a partition has one owner; what a member is told to own is in the log.
 * - G2: of the members that the group has not given up, one at most reads a partition.
 * - G3: only its owner commits a partition.
 * - G4: an acknowledged commit is there, and is what anybody reads, until a later one.
 * - G5: a new owner begins where the last commit says; no record is passed over.
 * - G6: what is given back in order is not processed twice, and nothing before the last commit.
 * - G7: a committed offset lies in the log, and goes back only by a reset.
 * - G8: epochs rise.
 * - G9: the group becomes stable, and shares what there is. Asked of the living: `groups.ts`.
 * - G10: offsets in use are kept, and those of a deleted group do not come back.
 */
import type { GroupLog, LoggedCommit, LoggedGroup } from "./group-log.ts";
import type { Event, FetchedOffsets, Ledger, Life, Place } from "./ledger.ts";

/** Values by partition and offset. */
export type Records = ReadonlyMap<Place, ReadonlyMap<number, string>>;

export interface Evidence {
  readonly ledger: Pick<Ledger, "events" | "fetched">;
  readonly log: GroupLog;
  /** What the partitions hold. */
  readonly records: Records;
  /** Groups that have read everything. */
  readonly finished: readonly string[];
}

/** A partition in the hands of one life. */
interface Holding {
  state: "coming" | "owned" | "revoked" | "lost";
  /** Where it began to read. */
  start: number;
  readonly memberId: string;
  /** Where the log says that it is the member's. */
  readonly givenAt: number;
  /** What a body was handed before is not of this holding, ms. */
  sinceMs: number;
  readonly processed: Set<number>;
  processedEnd: number;
  ackedEnd: number;
  /** A commit failed since it was revoked, and none of what was processed is promised. */
  hasFailed: boolean;
  /** A position of the group that the member has yet to take up. */
  reset: { readonly revision: number; readonly start: number } | undefined;
}

export class Check {
  readonly #evidence: Evidence;
  readonly violations: string[];
  readonly #holdings = new Map<Life, Map<Place, Holding>>();
  readonly #leaving = new Set<Life>();
  /** Commits that were sent, by their tags. */
  readonly #sent = new Map<string, Extract<Event, { kind: "commits" }>>();
  /** By group and partition, what was processed. */
  readonly #done = new Map<string, Map<number, string>>();
  /** By group and partition, the last acknowledged commits: events before, and place in the log. */
  readonly #acked = new Map<string, { readonly n: number; readonly at: number }[]>();
  /** Records that were processed more than once by the members of a group. */
  repeats = 0;

  constructor(evidence: Evidence) {
    this.#evidence = evidence;
    this.violations = [...evidence.log.violations];
  }

  run(): void {
    for (const [n, event] of this.#evidence.ledger.events.entries()) this.#take(event, n);
    this.#checkReads();
    for (const group of this.#evidence.finished) this.#checkComplete(group);
    this.#checkEnds();
  }

  #violated(event: Event, text: string): void {
    const { atMs, life } = event;
    this.violations.push(`${text} (${life.name} of ${life.group}, ${atMs.toFixed(3)} ms)`);
  }

  #take(event: Event, n: number): void {
    const { life } = event;
    switch (event.kind) {
      case "told":
        this.#told(event);
        break;
      case "assigned":
        this.#assigned(event);
        break;
      case "processed":
        this.#processed(event);
        break;
      case "revoked":
        this.#each(event, (holding) => {
          holding.state = "revoked";
          holding.hasFailed = false;
        });
        break;
      case "lost":
        this.#each(event, (holding) => {
          holding.state = "lost";
        });
        break;
      case "reported":
        this.#reported(event);
        break;
      case "commits":
        this.#commits(event);
        break;
      case "answered":
        this.#answered(event, n);
        break;
      case "leaving":
        this.#leaving.add(life);
        break;
      case "gone":
        this.#holdings.delete(life);
        break;
      case "opened":
        // The group tells again what was not taken up on the stream before.
        for (const held of this.#holdings.get(life)?.values() ?? []) held.reset = undefined;
        break;
    }
  }

  #each(
    event: Extract<Event, { kind: "assigned" | "revoked" | "lost" }>,
    change: (holding: Holding) => void,
  ): void {
    for (const place of event.places) {
      const holding = this.#holdings.get(event.life)?.get(place);
      if (holding !== undefined) change(holding);
    }
  }

  #groupOf(name: string): LoggedGroup | undefined {
    return this.#evidence.log.groups.get(name);
  }

  #told(event: Extract<Event, { kind: "told" }>): void {
    const { assigned, life, memberEpoch, memberId, positions, revision } = event;
    const logged = this.#groupOf(life.group)?.assignments.get(memberId) ?? [];
    // What was taken from one after it was written is in no record of its own.
    const found = logged.find(
      (one) => one.memberEpoch === memberEpoch && assigned.every((p) => one.assigned.has(p)),
    );
    if (found === undefined && assigned.length > 0) {
      this.#violated(event, `G1: ${memberId} is told ${assigned}, of which the log knows nothing`);
    }
    const held = this.#holdings.get(life) ?? new Map<Place, Holding>();
    this.#holdings.set(life, held);
    // What goes before it was announced goes without a word.
    for (const [place, { state }] of held) {
      if (state === "coming" && !assigned.includes(place)) held.delete(place);
    }
    for (const place of assigned) {
      const before = held.get(place);
      const isOwn = before?.memberId === memberId;
      const isHeld = isOwn && (before?.state === "owned" || before?.state === "coming");
      const position = positions.get(place);
      if (isHeld && position === undefined) continue;
      // It takes nothing more, and keeps what it has not given back yet.
      if (before !== undefined && this.#leaving.has(life)) continue;
      this.#checkPosition(event, place, found?.at ?? 0);
      const start = position?.offset ?? 0;
      if (isHeld && before.state === "owned") before.reset = { revision, start };
      else if (isHeld) before.start = start;
      else held.set(place, holdingAt(start, memberId, found?.at ?? 0));
    }
  }

  /** It is the last one that was committed before the partition was given, or a later one. */
  #checkPosition(event: Extract<Event, { kind: "told" }>, place: Place, givenAt: number): void {
    const { life, positions } = event;
    const commits = this.#groupOf(life.group)?.commits.get(place) ?? [];
    const due = commits.findLast(({ at }) => at < givenAt);
    const position = positions.get(place);
    const found = position && lastOf(commits, position);
    if ((found?.at ?? -1) >= (due?.at ?? -1)) return;
    const told = position === undefined ? "nowhere" : `${position.offset} ${position.tag}`;
    const text = `G5: ${place} begins at ${told}, and ${due?.offset} ${due?.tag} is committed`;
    this.#violated(event, text);
  }

  #assigned(event: Extract<Event, { kind: "assigned" }>): void {
    const { life, places } = event;
    for (const place of places) {
      const own = this.#holdings.get(life)?.get(place);
      // Of a topic that was deleted, which has no name any more.
      if (place.startsWith("/")) continue;
      if (own === undefined) {
        this.#violated(event, `G1: ${place} is announced, and was never told`);
        continue;
      }
      own.state = "owned";
      own.sinceMs = event.atMs;
      for (const [other, held] of this.#holdings) {
        const theirs = held.get(place);
        if (other === life || other.group !== life.group || theirs?.state !== "owned") continue;
        if (this.#isOver(life.group, own, theirs)) continue;
        const text = `G2: ${life.name} begins to read ${place}, which ${other.name} still reads`;
        this.#violated(event, text);
      }
    }
  }

  /** Whether the member that had it first was given up before the other one was given it. */
  #isOver(group: string, one: Holding, other: Holding): boolean {
    const [first, second] = one.givenAt < other.givenAt ? [one, other] : [other, one];
    const goneAt = this.#groupOf(group)?.goneAt.get(first.memberId);
    return goneAt !== undefined && goneAt < second.givenAt;
  }

  #processed(event: Extract<Event, { kind: "processed" }>): void {
    const { handedMs, life, offset, place, value } = event;
    const there = this.#evidence.records.get(place)?.get(offset);
    if (there !== undefined && there !== value) {
      this.#violated(event, `G5: ${place}@${offset} is processed as ${value}, and is ${there}`);
    }
    const key = `${life.group} ${place}`;
    const done = this.#done.get(key) ?? new Map<number, string>();
    this.#done.set(key, done);
    if (done.has(offset)) this.repeats += 1;
    done.set(offset, value);
    const holding = this.#holdings.get(life)?.get(place);
    // A body goes on with what it has in hand when the partition is lost, and given again.
    if (holding === undefined || handedMs < holding.sinceMs) return;
    if (offset < holding.start) {
      const text = `${place}@${offset} is processed, and ${holding.start} is where it begins`;
      this.#violated(event, `G6: ${text}`);
    }
    holding.processed.add(offset);
    holding.processedEnd = Math.max(holding.processedEnd, offset + 1);
    if (holding.state === "revoked" && !this.#leaving.has(life)) {
      this.#violated(event, `G6: ${place}@${offset} is processed after the partition was revoked`);
    }
  }

  /** What it has done of what it gives back is committed before. */
  #reported(event: Extract<Event, { kind: "reported" }>): void {
    const { atMs, life, owned, revision } = event;
    for (const [place, holding] of this.#holdings.get(life) ?? []) {
      takeUp(holding, revision, atMs);
      if (holding.state !== "revoked" || owned.includes(place)) continue;
      this.#holdings.get(life)?.delete(place);
      const { ackedEnd, hasFailed, processedEnd } = holding;
      if (!life.autoCommit || hasFailed || processedEnd <= ackedEnd) continue;
      const text = `G6: ${place} is given back at ${processedEnd}, and committed is ${ackedEnd}`;
      this.#violated(event, text);
    }
  }

  /** A commit says that everything before it was processed. */
  #commits(event: Extract<Event, { kind: "commits" }>): void {
    const { life, offsets, tag } = event;
    const isAgain = this.#sent.has(tag);
    this.#sent.set(tag, event);
    if (isAgain) return;
    for (const [place, offset] of offsets) {
      const holding = this.#holdings.get(life)?.get(place);
      if (holding === undefined) continue;
      const records = this.#evidence.records.get(place);
      for (let at = holding.start; at < offset; at += 1) {
        if (records?.has(at) !== true || holding.processed.has(at)) continue;
        this.#violated(event, `G5: ${place} is committed at ${offset}, and ${at} is not processed`);
        break;
      }
    }
  }

  #answered(event: Extract<Event, { kind: "answered" }>, n: number): void {
    const { error, life, refused, tag } = event;
    const sent = this.#sent.get(tag);
    for (const [place, offset] of sent?.offsets ?? []) {
      const holding = this.#holdings.get(life)?.get(place);
      if (error !== undefined || refused.has(place)) {
        if (holding !== undefined) holding.hasFailed = true;
        continue;
      }
      if (holding !== undefined) holding.ackedEnd = Math.max(holding.ackedEnd, offset);
      const commits = this.#groupOf(life.group)?.commits.get(place) ?? [];
      const found = commits.find((one) => one.tag === tag && one.offset === offset);
      if (found === undefined) {
        this.#violated(event, `G4: ${tag} of ${place} at ${offset} is acknowledged, and not there`);
        continue;
      }
      const key = `${life.group} ${place}`;
      const acked = this.#acked.get(key) ?? [];
      acked.push({ n, at: found.at });
      this.#acked.set(key, acked);
    }
  }

  #checkReads(): void {
    for (const read of this.#evidence.ledger.fetched) {
      for (const [place, commits] of this.#groupOf(read.group)?.commits ?? []) {
        // Of a topic that is gone nobody is told.
        if (this.#evidence.records.has(place)) this.#checkRead(read, place, commits);
      }
    }
  }

  #checkRead(read: FetchedOffsets, place: Place, commits: readonly LoggedCommit[]): void {
    const acked = this.#acked.get(`${read.group} ${place}`) ?? [];
    const due = Math.max(-1, ...acked.filter(({ n }) => n < read.invoked).map(({ at }) => at));
    const position = read.offsets.get(place);
    const found = position && lastOf(commits, position);
    if (position !== undefined && found === undefined) {
      this.violations.push(`G4: ${place} of ${read.group} is read as ${position.tag}: not there`);
    } else if ((found?.at ?? -1) < due) {
      const told = position === undefined ? "nothing" : `${position.offset} ${position.tag}`;
      const { offset, tag } = commits.find(({ at }) => at === due) ?? { offset: 0, tag: "" };
      const text = `${told}, and ${offset} ${tag} was acknowledged before`;
      this.violations.push(`G4: ${place} of ${read.group} is read as ${text}`);
    }
  }

  #checkComplete(group: string): void {
    for (const [place, records] of this.#evidence.records) {
      const done = this.#done.get(`${group} ${place}`);
      for (const [offset, value] of records) {
        if (done?.has(offset) === true) continue;
        this.violations.push(`G5: ${value} at ${place}@${offset} is passed over by ${group}`);
        break;
      }
    }
  }

  #checkEnds(): void {
    for (const { commits, name } of this.#evidence.log.groups.values()) {
      for (const [place, all] of commits) {
        const records = this.#evidence.records.get(place);
        if (records === undefined) continue;
        let end = 0;
        for (const offset of records.keys()) end = Math.max(end, offset + 1);
        const beyond = all.find(({ offset }) => offset > end);
        if (beyond === undefined) continue;
        const text = `${beyond.offset}, and it ends at ${end}`;
        this.violations.push(`G7: ${place} of ${name} is committed at ${text}`);
      }
    }
  }
}

/** What it did before a reset is not promised any more. */
const takeUp = (holding: Holding, revision: number, atMs: number): void => {
  if (holding.reset === undefined || holding.reset.revision > revision) return;
  const { start } = holding.reset;
  Object.assign(holding, { start, processedEnd: start, ackedEnd: start, sinceMs: atMs });
  holding.reset = undefined;
};

const holdingAt = (start: number, memberId: string, givenAt: number): Holding => ({
  ...{ state: "coming", start, memberId, givenAt, sinceMs: Infinity, processed: new Set() },
  ...{ processedEnd: start, ackedEnd: start, hasFailed: false },
  reset: undefined,
});

const lastOf = (
  commits: readonly LoggedCommit[],
  { offset, tag }: { readonly offset: number; readonly tag: string },
): LoggedCommit | undefined => commits.findLast((one) => one.tag === tag && one.offset === offset);

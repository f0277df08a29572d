/**
 * What members of groups did, said and were told, in the order in which it happened. All of a run
 * is one thread, so an event that is noted before another one has happened before it.
 */

/** A partition by name: `topic/number`. */
export type Place = string;

export const placeOf = ({ topic, partition }: { topic: string; partition: number }): Place =>
  `${topic}/${partition}`;

/** One life of a process that is a member: from its start to its death or its goodbye. */
export interface Life {
  readonly name: string;
  readonly group: string;
  /** What the loop has moved past is committed before a partition is given back. */
  readonly autoCommit: boolean;
}

/** A committed offset, and whose commit it is. */
export interface Position {
  readonly offset: number;
  /** Of the commit; "" where nobody has marked it. */
  readonly tag: string;
}

/** The application is told of partitions. */
export interface Announcement<Kind> {
  readonly kind: Kind;
  readonly places: readonly Place[];
}

export type Happening =
  | Announcement<"assigned">
  /** The application has done with them. */
  | Announcement<"revoked">
  | Announcement<"lost">
  /** The body of the loop has ended, and asks for the next record. */
  | {
      readonly kind: "processed";
      readonly place: Place;
      readonly offset: number;
      readonly value: string;
      /** When the body was handed it, ms: what it had in hand then may be lost meanwhile. */
      readonly handedMs: number;
    }
  /** It is about to leave: what is in hand is not waited for without end. */
  | { readonly kind: "leaving" }
  /** It is dead, or has left. */
  | { readonly kind: "gone" }
  /** A stream opens, and says who the member is and what it owns. */
  | { readonly kind: "opened"; readonly owned: readonly Place[] }
  | {
      readonly kind: "told";
      /** Of the stream: a report names it once this is applied. */
      readonly revision: number;
      readonly memberEpoch: number;
      readonly assigned: readonly Place[];
      readonly positions: ReadonlyMap<Place, Position>;
    }
  | { readonly kind: "reported"; readonly revision: number; readonly owned: readonly Place[] }
  | {
      readonly kind: "commits";
      readonly tag: string;
      readonly offsets: ReadonlyMap<Place, number>;
    }
  | {
      readonly kind: "answered";
      readonly tag: string;
      /** Codes of what was refused. */
      readonly refused: ReadonlyMap<Place, string>;
      /** Of the commit as a whole. */
      readonly error: string | undefined;
    };

export type Event = Happening & {
  readonly life: Life;
  /** As its stream knew it then; "" for what is not said on one. */
  readonly memberId: string;
  /** When, ms. */
  readonly atMs: number;
};

/** What a client was told is committed. `invoked`, `returned`: the number of events before. */
export interface FetchedOffsets {
  readonly group: string;
  readonly invoked: number;
  readonly returned: number;
  readonly offsets: ReadonlyMap<Place, Position>;
}

/** Of the run. */
export interface LedgerClock {
  readonly nowMs: number;
  trace(what: string): void;
}

const shown = (happening: Happening): string =>
  JSON.stringify(happening, (_, value) => (value instanceof Map ? [...value] : value));

export class Ledger {
  readonly events: Event[] = [];
  readonly fetched: FetchedOffsets[] = [];
  readonly #topicNames = new Map<string, string>();
  readonly #clock: LedgerClock;

  constructor(clock: LedgerClock) {
    this.#clock = clock;
  }

  note(life: Life, memberId: string, happening: Happening): void {
    this.events.push({ ...happening, life, memberId, atMs: this.#clock.nowMs });
    this.#clock.trace(`${life.name} ${memberId}: ${shown(happening)}`);
  }

  /** Name of a topic by its id, also once nobody else knows it; `told` is "" then. */
  nameOf(topicId: string, told = ""): string {
    if (told !== "") this.#topicNames.set(topicId, told);
    return this.#topicNames.get(topicId) ?? topicId;
  }
}

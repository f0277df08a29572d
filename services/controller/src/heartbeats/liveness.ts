/**
 * Which brokers are dead, judged by their heartbeats and by dialing them. Pure: callers pass the
 * time, send the probes and fence.
 */

/** One registration of a broker. */
export interface Registered {
  readonly brokerId: number;
  readonly epoch: number;
}

/** `dead`: nothing listens at its address any more. `hung`: it has been silent for too long. */
export interface Fencing extends Registered {
  readonly why: "dead" | "hung";
}

/** A broker to dial; `probe` goes with the result. */
export interface Probe extends Registered {
  readonly probe: number;
}

export interface Decision {
  readonly fence: readonly Fencing[];
  readonly probe: readonly Probe[];
  /** Brokers that seem dead, and are left to their leases because they are too many at once. */
  readonly spared: readonly number[];
}

export interface LivenessTimes {
  /** Silence after which a broker is hung. */
  readonly silenceMs: number;
  /** Time that a broker has for its first stream before it is dialed. */
  readonly streamWaitMs: number;
  /** Pause between two probes of a broker whose stream broke. */
  readonly probePauseMs: number;
  /** Longest time between two looks; a longer one is a pause of this process. */
  readonly lookGapMsMax: number;
}

/** The last thing that a broker let this controller know. */
type Contact =
  /** No stream yet. A broker of an older version never opens one. */
  | { readonly kind: "awaited" }
  | { readonly kind: "beating"; readonly stream: number }
  | { readonly kind: "broken" }
  /** A probe was refused, and no stream was opened since. */
  | { readonly kind: "refused" }
  | { readonly kind: "left" };

interface Watched extends Registered {
  contact: Contact;
  /** Last beat; for an awaited broker, when it was seen first. */
  heardMs: number;
  probeDueMs: number;
  /** The probe that is under way; undefined: none whose result counts. */
  probe: number | undefined;
}

const awaited: Contact = { kind: "awaited" };
const broken: Contact = { kind: "broken" };
const refused: Contact = { kind: "refused" };
const left: Contact = { kind: "left" };

export class Liveness {
  readonly #times: LivenessTimes;
  readonly #watched = new Map<number, Watched>();
  /** When brokers were fenced, by id. */
  readonly #fencedMs = new Map<number, number>();
  #lookedMs: number | undefined;
  #streams = 0;
  #probes = 0;

  constructor(times: LivenessTimes) {
    this.#times = times;
  }

  /** A broker opened a stream under its registration. Returns the number of the stream. */
  opened({ brokerId, epoch }: Registered, nowMs: number): number {
    this.#streams += 1;
    const stream = this.#streams;
    const contact: Contact = { kind: "beating", stream };
    const probe = { probeDueMs: Number.POSITIVE_INFINITY, probe: undefined };
    this.#watched.set(brokerId, { brokerId, epoch, contact, heardMs: nowMs, ...probe });
    return stream;
  }

  beat(brokerId: number, stream: number, nowMs: number): void {
    const watched = this.#onStream(brokerId, stream);
    if (watched !== undefined) watched.heardMs = nowMs;
  }

  /** The stream ended without a goodbye. */
  broke(brokerId: number, stream: number, nowMs: number): void {
    const watched = this.#onStream(brokerId, stream);
    if (watched === undefined) return;
    watched.contact = broken;
    watched.probeDueMs = nowMs;
  }

  /** The broker said goodbye. */
  left(brokerId: number, stream: number): void {
    const watched = this.#onStream(brokerId, stream);
    if (watched !== undefined) watched.contact = left;
  }

  /** The result of a probe. One that a newer stream has overtaken counts for nothing. */
  probed(brokerId: number, probe: number, isRefused: boolean, nowMs: number): void {
    const watched = this.#watched.get(brokerId);
    if (watched === undefined || watched.probe !== probe) return;
    const { probePauseMs, silenceMs } = this.#times;
    watched.probe = undefined;
    if (isRefused) watched.contact = refused;
    else watched.probeDueMs = nowMs + (watched.contact === awaited ? silenceMs : probePauseMs);
  }

  /** The registration was deleted. */
  fenced(brokerId: number, nowMs: number): void {
    this.#fencedMs.set(brokerId, nowMs);
  }

  /**
   * What has to be done now, given the epochs of the brokers that are registered. A broker is
   * fenced again with every look until its registration is gone.
   */
  look(nowMs: number, epochs: ReadonlyMap<number, number>): Decision {
    this.#excuse(nowMs);
    this.#follow(nowMs, epochs);
    const all = [...this.#watched.values()];
    const due = all.flatMap((watched): Fencing[] => {
      const why = this.#reason(watched, nowMs);
      return why === undefined ? [] : [{ ...idOf(watched), why }];
    });
    const isSpared = this.#areTooMany(all, nowMs);
    return {
      fence: isSpared ? [] : due,
      probe: all.filter((watched) => isProbeDue(watched, nowMs)).map((one) => this.#probe(one)),
      spared: isSpared ? due.map(({ brokerId }) => brokerId) : [],
    };
  }

  #onStream(brokerId: number, stream: number): Watched | undefined {
    const watched = this.#watched.get(brokerId);
    const { contact } = watched ?? {};
    return contact?.kind === "beating" && contact.stream === stream ? watched : undefined;
  }

  /** While this process stood still it heard nobody: that time is no silence of others. */
  #excuse(nowMs: number): void {
    const pauseMs = nowMs - (this.#lookedMs ?? nowMs) - this.#times.lookGapMsMax;
    this.#lookedMs = nowMs;
    if (pauseMs <= 0) return;
    for (const watched of this.#watched.values()) {
      watched.heardMs = Math.min(nowMs, watched.heardMs + pauseMs);
      watched.probeDueMs += pauseMs;
    }
  }

  #follow(nowMs: number, epochs: ReadonlyMap<number, number>): void {
    for (const { brokerId, epoch } of this.#watched.values()) {
      if (epochs.get(brokerId) !== epoch) this.#watched.delete(brokerId);
    }
    for (const [brokerId, epoch] of epochs) {
      if (this.#watched.has(brokerId)) continue;
      const probeDueMs = nowMs + this.#times.streamWaitMs;
      const contact = awaited;
      this.#watched.set(brokerId, {
        ...{ brokerId, epoch, contact, heardMs: nowMs, probeDueMs, probe: undefined },
      });
    }
    for (const [brokerId, atMs] of this.#fencedMs) {
      if (nowMs - atMs >= this.#times.silenceMs) this.#fencedMs.delete(brokerId);
    }
  }

  #reason({ contact, heardMs }: Watched, nowMs: number): Fencing["why"] | undefined {
    if (contact.kind === "refused") return "dead";
    if (contact.kind !== "beating" && contact.kind !== "broken") return undefined;
    return nowMs - heardMs >= this.#times.silenceMs ? "hung" : undefined;
  }

  /**
   * Whether half of the brokers or more are missing, and more than one: then it may be this
   * controller that is cut off. The silences of a cut do not end at one moment, so half of the
   * silence makes a broker count as missing, and one that was fenced just before counts, too.
   */
  #areTooMany(all: readonly Watched[], nowMs: number): boolean {
    const registered = new Set(all.map(({ brokerId }) => brokerId));
    const gone = [...this.#fencedMs.keys()].filter((id) => !registered.has(id)).length;
    const isMissing = ({ contact: { kind }, heardMs }: Watched): boolean =>
      kind === "refused" ||
      ((kind === "beating" || kind === "broken") && nowMs - heardMs >= this.#times.silenceMs / 2);
    const missing = gone + all.filter(isMissing).length;
    return missing > 1 && missing * 2 >= gone + all.length;
  }

  #probe(watched: Watched): Probe {
    this.#probes += 1;
    const probe = this.#probes;
    watched.probe = probe;
    return { ...idOf(watched), probe };
  }
}

const idOf = ({ brokerId, epoch }: Registered): Registered => ({ brokerId, epoch });

const isProbeDue = ({ contact, probe, probeDueMs }: Watched, nowMs: number): boolean =>
  (contact === awaited || contact === broken) && probe === undefined && probeDueMs <= nowMs;

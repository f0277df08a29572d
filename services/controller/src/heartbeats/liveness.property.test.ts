/**
 * Streams, beats, probes and registrations in any order, against a model that keeps everything that
 * has happened and searches it anew for each decision.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Liveness } from "./liveness.ts";

const silenceMs = 1000;
const streamWaitMs = 1500;
const probePauseMs = 200;
const times = { silenceMs, streamWaitMs, probePauseMs, lookGapMsMax: 500 };
const brokers = [0, 1, 2, 3];

type Kind =
  | "register"
  | "expire"
  | "renew"
  | "open"
  | "beat"
  | "break"
  | "leave"
  | "answer"
  | "refuse";
type Step =
  | { readonly kind: Kind; readonly broker: number; readonly isStale: boolean }
  | { readonly kind: "wait"; readonly ms: number }
  /** The decisions are carried out. */
  | { readonly kind: "fence" };

const kinds: readonly Kind[] = [
  ...(["register", "expire", "renew", "open", "open", "beat", "beat", "break", "break"] as const),
  ...(["leave", "answer", "refuse", "refuse"] as const),
];
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom(...kinds),
      broker: fc.constantFrom(...brokers),
      isStale: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, fc.constant(true)),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("wait" as const),
      ms: fc.integer({ min: 1, max: 499 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "fence" as const }) },
);

/** What has happened to a registration, oldest first. `number`: of a stream or a probe. */
interface Happened {
  readonly what: "seen" | "opened" | "beat" | "broke" | "left" | "asked" | "answered" | "refused";
  readonly number: number;
  readonly atMs: number;
}

/** Judges one registration from its history. */
class Model {
  readonly history: Happened[] = [];

  get stream(): Happened | undefined {
    return this.history.findLast(({ what }) => what === "opened");
  }

  /** Everything since the last opening that is about this stream, or about no stream. */
  get #since(): readonly Happened[] {
    const from = this.history.findLastIndex(({ what }) => what === "opened");
    return this.history.slice(Math.max(0, from));
  }

  /** How the stream ended, if it has. */
  get end(): "broke" | "left" | undefined {
    const first = this.#since.find(
      ({ what, number }) => (what === "broke" || what === "left") && number === this.stream?.number,
    );
    return first?.what as "broke" | "left" | undefined;
  }

  /** A probe that was asked since the last stream was opened, and refused. */
  get isRefused(): boolean {
    const asked = new Set(
      this.#since.filter(({ what }) => what === "asked").map((one) => one.number),
    );
    return this.#since.some(({ what, number }) => what === "refused" && asked.has(number));
  }

  silentMs(nowMs: number): number {
    const { stream, end } = this;
    if (stream === undefined || end === "left") return 0;
    const ended = this.#since.findIndex(
      ({ what, number }) => what === "broke" && number === stream.number,
    );
    const heard = this.#since
      .slice(0, ended === -1 ? undefined : ended)
      .findLast(({ what, number }) => what === "beat" && number === stream.number);
    return nowMs - (heard ?? stream).atMs;
  }

  reason(nowMs: number): "dead" | "hung" | undefined {
    if (this.isRefused) return "dead";
    return this.silentMs(nowMs) >= silenceMs ? "hung" : undefined;
  }

  isMissing(nowMs: number): boolean {
    return this.isRefused || this.silentMs(nowMs) >= silenceMs / 2;
  }

  isProbeDue(nowMs: number): boolean {
    const isAwaited = this.stream === undefined;
    if (this.isRefused || (!isAwaited && this.end !== "broke")) return false;
    const asked = this.#since.findLast(({ what }) => what === "asked");
    if (asked === undefined) {
      const firstMs = (this.history[0]?.atMs ?? 0) + streamWaitMs;
      return isAwaited ? nowMs >= firstMs : true;
    }
    const answer = this.#since.find(
      (one) => one.what === "answered" && one.number === asked.number,
    );
    if (answer === undefined) return false;
    return nowMs - answer.atMs >= (isAwaited ? silenceMs : probePauseMs);
  }

  /** What the broker does on a stream: its last one, or one that is over. */
  on(what: Happened["what"], atMs: number, isStale: boolean): number | undefined {
    const number = this.stream?.number;
    if (number === undefined || this.end !== undefined) return undefined;
    if (!isStale) this.history.push({ what, number, atMs });
    return isStale ? number - 1 : number;
  }
}

class Checked {
  readonly liveness = new Liveness(times);
  readonly epochs = new Map<number, number>();
  readonly models = new Map<number, Model>();
  readonly #fencedMs = new Map<number, number>();
  #due: readonly { readonly brokerId: number; readonly epoch: number }[] = [];
  #nowMs = 0;
  #epoch = 0;
  /** What was decided in all runs: a test that decides nothing tests nothing. */
  readonly seen: Map<string, number>;

  constructor(seen: Map<string, number>) {
    this.seen = seen;
    for (const id of brokers) this.#register(id);
    this.look();
  }

  run(one: Step): void {
    if (one.kind === "wait") this.#nowMs += one.ms;
    else if (one.kind === "fence") {
      for (const { brokerId } of this.#due) {
        this.liveness.fenced(brokerId, this.#nowMs);
        this.#fencedMs.set(brokerId, this.#nowMs);
        this.#remove(brokerId);
      }
    } else this.#act(one.kind, one.broker, one.isStale);
    this.look();
  }

  look(): void {
    const nowMs = this.#nowMs;
    const ids = [...this.models.keys()].sort();
    const all = ids.map((id) => ({ id, model: this.models.get(id) ?? assert.fail() }));
    const gone = [...this.#fencedMs].filter(
      ([id, atMs]) => !this.models.has(id) && nowMs - atMs < silenceMs,
    ).length;
    const due = all.flatMap(({ id, model }) => {
      const why = model.reason(nowMs);
      return why === undefined ? [] : [`${id}@${this.epochs.get(id)} ${why}`];
    });
    const missing = gone + all.filter(({ model }) => model.isMissing(nowMs)).length;
    const isSpared = missing > 1 && missing >= (all.length + gone) / 2;
    const probes = all.filter(({ model }) => model.isProbeDue(nowMs)).map(({ id }) => id);
    const decision = this.liveness.look(nowMs, this.epochs);
    const fence = decision.fence.map(({ brokerId, epoch, why }) => `${brokerId}@${epoch} ${why}`);
    assert.deepEqual(fence.sort(), isSpared ? [] : due);
    const dueIds = due.map((text) => Number(text.split("@")[0]));
    assert.deepEqual([...decision.spared].sort(), isSpared ? dueIds : []);
    assert.deepEqual(decision.probe.map(({ brokerId }) => brokerId).sort(), probes);
    for (const { brokerId, probe } of decision.probe) {
      this.models.get(brokerId)?.history.push({ what: "asked", number: probe, atMs: nowMs });
    }
    this.#due = decision.fence;
    this.#count("dead", decision.fence.filter(({ why }) => why === "dead").length);
    this.#count("hung", decision.fence.filter(({ why }) => why === "hung").length);
    this.#count("spared", decision.spared.length);
    this.#count("probe", decision.probe.length);
  }

  #count(what: string, times: number): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + times);
  }

  #act(kind: Kind, id: number, isStale: boolean): void {
    const atMs = this.#nowMs;
    const { liveness } = this;
    const model = this.models.get(id);
    if (kind === "register") this.#register(id);
    else if (kind === "expire") this.#remove(id);
    else if (kind === "renew") {
      this.#remove(id);
      this.#register(id);
    } else if (model === undefined) return;
    else if (kind === "open") {
      const epoch = this.epochs.get(id) ?? assert.fail();
      const number = liveness.opened({ brokerId: id, epoch }, atMs);
      model.history.push({ what: "opened", number, atMs });
    } else if (kind === "answer" || kind === "refuse") {
      this.#answer(id, model, kind, isStale);
    } else {
      const what = ({ beat: "beat", break: "broke", leave: "left" } as const)[kind];
      const stream = model.on(what, atMs, isStale);
      if (stream === undefined) return;
      if (kind === "beat") liveness.beat(id, stream, atMs);
      else if (kind === "break") liveness.broke(id, stream, atMs);
      else liveness.left(id, stream);
    }
  }

  /** The last probe that was asked is answered, or one that is over. */
  #answer(id: number, model: Model, kind: "answer" | "refuse", isStale: boolean): void {
    const atMs = this.#nowMs;
    const asked = model.history.findLast(({ what }) => what === "asked");
    const isAnswered = model.history.some(
      ({ what, number }) => (what === "answered" || what === "refused") && number === asked?.number,
    );
    if (asked === undefined || isAnswered) return;
    if (isStale) {
      this.liveness.probed(id, asked.number - 1, kind === "refuse", atMs);
      return;
    }
    this.liveness.probed(id, asked.number, kind === "refuse", atMs);
    const what = kind === "refuse" ? "refused" : "answered";
    model.history.push({ what, number: asked.number, atMs });
  }

  #register(id: number): void {
    if (this.epochs.has(id)) return;
    this.#epoch += 1;
    this.epochs.set(id, this.#epoch);
    const model = new Model();
    model.history.push({ what: "seen", number: 0, atMs: this.#nowMs });
    this.models.set(id, model);
  }

  #remove(id: number): void {
    this.epochs.delete(id);
    this.models.delete(id);
  }
}

test("decisions are those of a model that remembers everything", () => {
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 120 }), (steps) => {
      const checked = new Checked(seen);
      for (const one of steps) checked.run(one);
    }),
    { numRuns: 500, seed: 14 },
  );
  for (const what of ["dead", "hung", "spared", "probe"]) {
    assert.ok((seen.get(what) ?? 0) > 100, `${what}: ${seen.get(what)}`);
  }
});

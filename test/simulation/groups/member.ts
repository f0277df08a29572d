/**
 * One life of a member: a process with a client, whose loop reads what the group gives it, and
 * tells the ledger of everything.
 */
import type { Client, ConsumedRecord, GroupConsumer } from "@millrace/client/core";
import { MillraceError } from "@millrace/errors";
import type { Dialer } from "@millrace/rpc";
import { Incarnation, type Kernel, type SeededRandom, type SimNetwork } from "@millrace/sim";
import { type Ledger, type Life, type Place, placeOf } from "../../groups/ledger.ts";
import { MemberTap } from "../../groups/member-tap.ts";

/** What lives are made with. */
export interface MemberContext {
  readonly kernel: Kernel;
  readonly network: SimNetwork;
  readonly random: SeededRandom;
  readonly ledger: Ledger;
  /** A client in a process. */
  readonly client: (process: Incarnation, dialer: Dialer) => Client;
}

export interface MemberOptions {
  readonly name: string;
  readonly host: string;
  readonly group: string;
  readonly instanceId: string | undefined;
  readonly topics: readonly string[];
  readonly topicPattern: string | undefined;
}

/** How a loop takes its records. */
const styles = ["records", "records", "batches", "process"] as const;
/** Longest time of the body of a loop for one record, ms. */
const bodiesMsMax = [0, 5, 20] as const;
const sessionsMs = [1500, 3000, 6000] as const;

const textOf = (value: Uint8Array | null): string => Buffer.from(value ?? []).toString();

export class Member {
  readonly life: Life;
  readonly host: string;
  readonly process: Incarnation;
  /** Resolves once it is dead or has left; to the error that ended its loop, if one did. */
  readonly over: Promise<MillraceError | undefined>;
  readonly #context: MemberContext;
  readonly #tap: MemberTap;
  readonly #consumer: GroupConsumer;
  readonly #bodyMsMax: number;
  readonly #style: (typeof styles)[number];
  readonly #end: (error: MillraceError | undefined) => void;
  #isOver = false;

  constructor(options: MemberOptions, context: MemberContext) {
    const { kernel, network, random } = context;
    const { group, host, instanceId, name, topicPattern, topics } = options;
    const autoCommit = random.chance(0.7);
    this.life = { name, group, autoCommit };
    this.host = host;
    this.#context = context;
    this.#tap = new MemberTap(context.ledger, this.life, kernel.marks);
    network.powerOn(host);
    this.process = new Incarnation(kernel, name);
    const { promise, resolve } = Promise.withResolvers<MillraceError | undefined>();
    this.over = promise;
    this.#end = resolve;
    const { dialer } = network.attach(host, this.process);
    const client = context.client(this.process, this.#tap.dialer(dialer));
    this.#bodyMsMax = random.pick(bodiesMsMax);
    this.#style = random.pick(styles);
    const noted = (kind: "assigned" | "revoked" | "lost") => (all: readonly Named[]) =>
      this.#tap.note({ kind, places: all.map(placeOf) });
    this.#consumer = client.consumer({
      ...{ group, topics, autoCommit, from: "earliest", onOutOfRange: "earliest" },
      ...(topicPattern === undefined ? {} : { topicPattern }),
      ...(instanceId === undefined ? {} : { instanceId }),
      autoCommitIntervalMs: 100 + random.below(1000),
      sessionTimeoutMs: random.pick(sessionsMs),
      rebalanceTimeoutMs: 1000 + random.below(4000),
      maxProcessingMs: random.chance(0.2) ? 1000 : 60_000,
      concurrency: { perPartition: 3 },
      onAssigned: noted("assigned"),
      onRevoked: noted("revoked"),
      onLost: (all) => {
        kernel.marks.sometimes("groups: a member is fenced");
        noted("lost")(all);
      },
      onState: ({ type }) => {
        if (type === "group_left") kernel.marks.sometimes("groups: a loop that is stuck leaves");
      },
    });
    void this.#run();
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Leaves in order, as soon as it can. */
  async close(): Promise<void> {
    if (this.#isOver) return;
    this.#tap.note({ kind: "leaving" });
    await this.#consumer.close();
    this.#finish(undefined);
  }

  /** Commits what its loop has done, where nothing does so by itself; what fails comes again. */
  commit(): void {
    if (this.life.autoCommit || this.#isOver) return;
    this.process.schedule(0, () => {
      this.#consumer.commit().catch((thrown: unknown) => MillraceError.from(thrown));
    });
  }

  /** Dies without a word; with its machine, nobody is told either. */
  die(model: "process" | "power"): void {
    if (this.#isOver) return;
    if (model === "power") this.#context.network.powerOff(this.host);
    else this.process.kill();
    this.#finish(undefined);
  }

  #finish(error: MillraceError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#tap.note({ kind: "gone" });
    // What a process that has left still has open ends with it.
    if (this.process.alive) this.process.kill();
    this.#end(error);
  }

  async #run(): Promise<void> {
    const consumer = this.#consumer;
    const { life } = this;
    const commits = async (): Promise<void> => {
      if (life.autoCommit || !this.#context.random.chance(0.2)) return;
      // What is refused, or has no answer, comes again.
      await consumer.commit().catch((thrown: unknown) => MillraceError.from(thrown));
    };
    try {
      if (this.#style === "process") {
        await consumer.process(async (record) => this.#work([record]));
      } else if (this.#style === "batches") {
        for await (const { records } of consumer.batches()) {
          await this.#work(records);
          await commits();
        }
      } else {
        for await (const record of consumer.records()) {
          await this.#work([record]);
          await commits();
        }
      }
    } catch (thrown) {
      this.#finish(MillraceError.from(thrown));
    }
  }

  async #work(records: readonly ConsumedRecord[]): Promise<void> {
    const { kernel, random } = this.#context;
    const clock = this.process.clock();
    const handedMs = kernel.nowMs;
    for (const { offset, partition, topic, value } of records) {
      const isLong = random.chance(0.005);
      if (isLong) await clock.sleep(random.float() * 3000);
      else if (this.#bodyMsMax > 0) await clock.sleep(random.float() * this.#bodyMsMax);
      const place: Place = placeOf({ topic, partition });
      const processed = { place, offset: Number(offset), value: textOf(value), handedMs };
      this.#tap.note({ kind: "processed", ...processed });
    }
  }
}

type Named = Parameters<typeof placeOf>[0];

/** Blocks of producer ids for brokers (KIP-730). */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type Compare,
  decodeRecord,
  encodeRecord,
  type KeyValue,
  keys,
  type MetadataStore,
} from "@millrace/metadata";
import { ProducerIdsRecordSchema } from "@millrace/proto/storage";
import { Lanes } from "./lanes.ts";
import { producerIdLimits as limits } from "./limits.ts";
import type { Write } from "./reign.ts";

/** Producer ids that nobody else gets. */
export interface ProducerIdBlock {
  readonly first: number;
  readonly count: number;
}

export interface ProducerIdBlocksOptions {
  readonly store: MetadataStore;
  readonly active: {
    /** Throws NOT_CONTROLLER when this is not the active controller. */
    writeOfReign(): Write;
  };
}

/** What the store says, and the condition under which that is still so. */
interface Read {
  readonly next: number;
  readonly generation: string;
  readonly unchanged: readonly Compare[];
}

const unchanged = (key: string, kv: KeyValue | undefined): Compare => ({
  ...{ key, target: "modRevision", equals: kv?.modRevision ?? 0 },
});

/** Hex digits of a generation, and the ids for each number that they can be: up to 2^52. */
const digits = 12;
const idsPerNumber = 16;

/**
 * Where the ids of a generation begin. Generations are random, so those of two do not meet: what
 * was given since a backup is not known after its restore, nor how often it was restored.
 */
const firstOf = (generation: string): number =>
  generation === "" ? 0 : Number.parseInt(generation.slice(0, digits), 16) * idsPerNumber;

/** The next free id after the record. One of another generation comes from a backup. */
const nextAfter = (kv: KeyValue | undefined, generation: string): number => {
  const record = kv && decodeRecord.producerIds(kv);
  if (record === undefined || record.generation !== generation) return firstOf(generation);
  return Number(record.nextProducerId);
};

export class ProducerIdBlocks {
  readonly #options: ProducerIdBlocksOptions;
  readonly #callers = new Lanes(limits.callsPerBrokerMax);
  /** One transaction at a time: calls of this process do not conflict with one another. */
  readonly #turns = new Lanes(Number.POSITIVE_INFINITY);

  constructor(options: ProducerIdBlocksOptions) {
    this.#options = options;
  }

  /**
   * A block of ids that has never been given. The record moves before the block is known: after a
   * failure, also one of unknown outcome, a block may be wasted, and is never given twice. Throws
   * NOT_CONTROLLER, ADMISSION_REJECTED when the broker has too many calls under way, UNAVAILABLE,
   * and POLICY_VIOLATION when all ids up to 2^53-1 have been given.
   */
  allocate(brokerId: number): Promise<ProducerIdBlock> {
    return this.#callers.run(brokerId, () => this.#turns.run(0, () => this.#allocate()));
  }

  async #allocate(): Promise<ProducerIdBlock> {
    const { active } = this.#options;
    const write = active.writeOfReign();
    for (let attempt = 0; attempt < limits.attemptsMax; attempt += 1) {
      const { next: first, generation, unchanged: compares } = await this.#read();
      const count = limits.idsPerBlock;
      const next = first + count;
      if (next > Number.MAX_SAFE_INTEGER) throw exhausted();
      const record = { nextProducerId: BigInt(next), generation };
      const value = encodeRecord.producerIds(create(ProducerIdsRecordSchema, record));
      const put = { type: "put", key: keys.producerIds, value } as const;
      // Refused when an earlier transaction, whose outcome was unknown, has come through meanwhile.
      if ((await write(compares, [put])).succeeded) return { first, count };
    }
    throw MillraceError.refusal(
      ErrorCode.METADATA_STALE,
      `the next producer id changed during ${limits.attemptsMax} attempts: retry`,
    );
  }

  /** From the store: the mirror may be behind. */
  async #read(): Promise<Read> {
    const { store } = this.#options;
    const [ids, generations] = await Promise.all([
      store.range({ key: keys.producerIds }),
      store.range({ key: keys.generation }),
    ]);
    const [kv] = ids.kvs;
    const [generationKv] = generations.kvs;
    const generation = Buffer.from(generationKv?.value ?? []).toString();
    return {
      ...{ next: nextAfter(kv, generation), generation },
      unchanged: [unchanged(keys.producerIds, kv), unchanged(keys.generation, generationKv)],
    };
  }
}

const exhausted = (): MillraceError =>
  MillraceError.refusal(
    ErrorCode.POLICY_VIOLATION,
    "all producer ids up to 2^53-1 have been given: use producers that are not idempotent",
  );

/** A log that a test moves on, and that can be read; and indexes of its keys. */
import { type Compressor, silentLogger } from "@millrace/env";
import type { AppendBatch, AppendDone, ReadResult } from "@millrace/log";
import {
  BatchBuilder,
  crcOf,
  encodeStoredPrefix,
  keysOf,
  type ProducerStamp,
  parseBody,
  type ValidatedBatch,
} from "@millrace/record";
import { noMetrics } from "../metrics.ts";
import { FakeLog } from "../testing/fake-log.ts";
import type { KeyIndexContext } from "./key-index.ts";
import { KeyIndexes } from "./key-indexes.ts";

/** A record as a test writes it: `k` has a value, `-k` has none, and undefined has no key. */
export type Line = string | undefined;

/** Memory of an index with one to eight short keys. */
export const fewKeysBytes = 801;

const bodyOf = (lines: readonly Line[], stamp?: ProducerStamp): Buffer => {
  const builder = new BatchBuilder();
  for (const line of lines) {
    const isNull = line?.startsWith("-") === true;
    builder.append({
      key: line === undefined ? undefined : Buffer.from(isNull ? line.slice(1) : line),
      value: isNull ? undefined : Buffer.from("v"),
      timestampMs: 1,
    });
  }
  return builder.finishPlain(stamp);
};

/** A batch as a broker has it, with its keys if all of its records have one. */
export const batchOf = (lines: readonly Line[], stamp?: ProducerStamp): ValidatedBatch => {
  const body = bodyOf(lines, stamp);
  const info = parseBody(body);
  const batch = { body, bodyCrc: crcOf(body), info };
  return lines.includes(undefined) ? batch : { ...batch, keys: keysOf(info.records) };
};

interface Stored {
  readonly baseOffset: number;
  readonly endOffset: number;
  readonly bytes: Buffer;
}

export class ReadableLog extends FakeLog {
  #stored: Stored[] = [];
  /** What the next reads fail with. */
  readonly failures: Error[] = [];
  reads = 0;
  /** Bytes that the last read asked for. */
  askedBytes = 0;

  /** Batches that are there already. */
  fill(...batches: readonly (readonly Line[])[]): void {
    for (const lines of batches) this.#store(batchOf(lines));
    this.ackedEndOffset = this.logEndOffset;
  }

  override append(batch: AppendBatch, epoch: number, done: AppendDone) {
    const appended = super.append(batch, epoch, done);
    if (!appended.duplicate) {
      this.logEndOffset = appended.baseOffset;
      this.#store(batch);
    }
    return appended;
  }

  /** What compaction leaves of batches: a body without these records, at the same offsets. */
  compact(from: number, lines: readonly Line[]): void {
    const body = bodyOf(lines);
    this.#stored = this.#stored.map((one) =>
      one.baseOffset === from ? { ...one, bytes: stored(from, body) } : one,
    );
  }

  async read(offset: number, maxBytes: number): Promise<ReadResult> {
    this.reads += 1;
    this.askedBytes = maxBytes;
    const failure = this.failures.shift();
    if (failure !== undefined) throw failure;
    const { highWatermark, logStartOffset } = this;
    const chunks: Buffer[] = [];
    let nextOffset = offset;
    let bytes = 0;
    for (const one of this.#stored) {
      if (one.endOffset <= offset || one.endOffset > highWatermark) continue;
      if (bytes > 0 && bytes + one.bytes.length > maxBytes) break;
      chunks.push(one.bytes);
      bytes += one.bytes.length;
      nextOffset = one.endOffset;
    }
    return { chunks, bytes, nextOffset, highWatermark, logStartOffset };
  }

  tryReadTail(): undefined {
    return undefined;
  }

  #store({ body, info }: AppendBatch): void {
    const baseOffset = this.logEndOffset;
    this.logEndOffset += info.lastOffsetDelta + 1;
    const bytes = stored(baseOffset, body);
    this.#stored.push({ baseOffset, endOffset: this.logEndOffset, bytes });
  }
}

const stored = (baseOffset: number, body: Uint8Array): Buffer => {
  const fields = { baseOffset, leaderEpoch: 1, appendTimeMs: 1, bodyCrc: crcOf(body) };
  return Buffer.concat([encodeStoredPrefix(fields, body.length), body]);
};

/** What indexes share, and what they did of it. */
export const indexContext = (bytesMax = 1_000_000) => {
  const timers = new Set<() => void>();
  const told: string[] = [];
  let turns = 0;
  const indexes = new KeyIndexes(bytesMax, {
    ...noMetrics,
    onKeyIndexLoaded: () => told.push("loaded"),
    onKeyIndexGivenUp: () => told.push("given up"),
  });
  const context: KeyIndexContext = {
    clock: {
      monoMs: () => 0,
      defer: (run) => {
        turns += 1;
        setImmediate(run);
      },
      timer: (_ms, run) => {
        timers.add(run);
        return () => timers.delete(run);
      },
    },
    compressor: {} as Compressor,
    logger: { ...silentLogger, warn: (_: object, text: string) => void told.push(text) },
    sim: undefined,
    indexes,
  };
  return { context, indexes, told, timers, turns: () => turns };
};

/** Some turns of the event loop. */
export const settled = async (): Promise<void> => {
  for (let i = 0; i < 20; i += 1) await new Promise<void>((resolve) => setImmediate(resolve));
};

/** `millrace produce`. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type {
  Client,
  HeaderInput,
  Producer,
  ProducerOptions,
  ProducerRecord,
} from "@millrace/client";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { type Command, Option } from "commander";
import { type Io, UsageError, wholeNumber, write } from "./io.ts";
import { splitRecords, unescapeText } from "./lines.ts";
import { type ClusterFlags, clusterCommand, withClient } from "./shared.ts";

type Flags = ClusterFlags & Readonly<Record<string, unknown>>;

/** Largest record that is read, bytes; the server's limit is lower. */
const recordBytesMax = 64 * 1024 * 1024;
/** Records on the way at once. */
const inFlightMax = 20_000;

/** What the flags make of a piece of input. */
export interface Shape {
  readonly topic: string;
  readonly partition: number | undefined;
  readonly key: string | undefined;
  readonly keySeparator: Buffer | undefined;
  readonly headers: readonly HeaderInput[];
  readonly nullValue: Buffer | undefined;
}

/** The record of a piece of input. */
export const recordOf = (piece: Buffer, shape: Shape): ProducerRecord => {
  const { topic, partition, headers } = shape;
  let key: Buffer | string | undefined = shape.key;
  let value: Buffer | null = piece;
  if (shape.keySeparator !== undefined) {
    const at = piece.indexOf(shape.keySeparator);
    if (at >= 0) {
      key = piece.subarray(0, at);
      value = piece.subarray(at + shape.keySeparator.length);
    }
  }
  if (shape.nullValue?.equals(value) === true) value = null;
  return { topic, partition, key, value, headers };
};

const headersOf = (pairs: readonly string[]): HeaderInput[] =>
  pairs.map((pair) => {
    const at = pair.indexOf("=");
    if (at < 1) throw new UsageError(`--header ${pair}: use NAME=VALUE`);
    return { name: pair.slice(0, at), value: pair.slice(at + 1) };
  });

const shapeOf = (topic: string, flags: Flags): Shape => {
  const { keySeparator, key, header, partition, nullValue } = flags;
  return {
    topic,
    partition:
      partition === undefined
        ? undefined
        : wholeNumber("--partition", String(partition), 0, 0xffff_ffff),
    key: key === undefined ? undefined : String(key),
    keySeparator: keySeparator === undefined ? undefined : unescapeText(String(keySeparator)),
    headers: headersOf((header as string[] | undefined) ?? []),
    nullValue: nullValue === undefined ? undefined : Buffer.from(String(nullValue)),
  };
};

async function* openInput(
  files: readonly string[],
  io: Io,
): AsyncGenerator<AsyncIterable<Uint8Array>> {
  if (files.length === 0) yield io.stdin;
  for (const file of files) yield file === "-" ? io.stdin : createReadStream(file);
}

/** Refuses what can not be read before anything is sent. */
const checkFiles = async (files: readonly string[]): Promise<void> => {
  for (const file of files) {
    if (file === "-") continue;
    const found = await stat(file).catch((thrown: NodeJS.ErrnoException) => thrown);
    if (found instanceof Error) throw new UsageError(`${file}: ${found.message}: check the name`);
    if (found.isDirectory()) throw new UsageError(`${file} is a directory: name files`);
  }
};

async function* pieces(files: readonly string[], flags: Flags, io: Io): AsyncGenerator<Buffer> {
  const delimiter = unescapeText(String(flags["delimiter"]));
  if (delimiter.length === 0) throw new UsageError("--delimiter must not be empty");
  for await (const input of openInput(files, io)) {
    if (flags["wholeFile"] === true) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of input) chunks.push(chunk);
      yield Buffer.concat(chunks);
    } else {
      yield* splitRecords(input, delimiter, recordBytesMax);
    }
  }
}

/** Latencies in milliseconds, a sample of at most 10,000. */
class Latencies {
  readonly #sample: number[] = [];
  #seen = 0;

  add(ms: number): void {
    this.#seen += 1;
    if (this.#sample.length < 10_000) this.#sample.push(ms);
    else this.#sample[(this.#seen * 7919) % 10_000] = ms;
  }

  quantile(q: number): number {
    const sorted = this.#sample.toSorted((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
  }
}

/** One run: counts, failures, printing of offsets. */
class Run {
  readonly #producer: Producer;
  readonly #io: Io;
  readonly #printOffsets: boolean;
  readonly #latencies = new Latencies();
  #records = 0;
  #bytes = 0;
  #open = 0;
  #failure: unknown;
  #wake: (() => void) | undefined;
  #printing: Promise<void> = Promise.resolve();

  constructor(producer: Producer, io: Io, printOffsets: boolean) {
    this.#producer = producer;
    this.#io = io;
    this.#printOffsets = printOffsets;
  }

  async send(record: ProducerRecord, bytes: number): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#open += 1;
    const startedMs = performance.now();
    this.#producer.send(record).then(
      ({ partition, offset }) => {
        this.#records += 1;
        this.#bytes += bytes;
        this.#latencies.add(performance.now() - startedMs);
        if (this.#printOffsets) this.#print(`${partition} ${offset}\n`);
        this.#closeOne();
      },
      (thrown: unknown) => {
        this.#failure ??= thrown;
        this.#closeOne();
      },
    );
    if (this.#open >= inFlightMax || this.#producer.bufferedBytes > 24 * 1024 * 1024) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async finish(): Promise<void> {
    while (this.#open > 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    await this.#printing;
  }

  /** One line on stderr, written over once a second, for whoever watches. Returns how to stop. */
  showProgress(): () => void {
    const timer = setInterval(() => this.#io.stderr.write(`\r${this.#records} records`), 1000);
    return () => {
      clearInterval(timer);
      this.#io.stderr.write("\r");
    };
  }

  throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  summary(seconds: number): string {
    const rate = Math.round(this.#records / Math.max(seconds, 1e-9));
    const [p50, p99] = [this.#latencies.quantile(0.5), this.#latencies.quantile(0.99)];
    return (
      `${this.#records} records, ${this.#bytes} bytes, ${seconds.toFixed(2)} s, ${rate} records/s, ` +
      `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms\n`
    );
  }

  #print(text: string): void {
    this.#printing = this.#printing
      .then(() => write(this.#io.stdout, text))
      .catch((thrown: unknown) => {
        this.#failure ??= thrown;
      });
  }

  #closeOne(): void {
    this.#open -= 1;
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

/** Waits so that at most `rate` records a second leave. */
const pacer = (rate: number | undefined): (() => Promise<void>) => {
  if (rate === undefined) return async () => {};
  const startedMs = performance.now();
  let sent = 0;
  return async () => {
    const dueMs = startedMs + (sent / rate) * 1000;
    sent += 1;
    const waitMs = dueMs - performance.now();
    if (waitMs > 1) await new Promise((resolve) => setTimeout(resolve, waitMs));
  };
};

const parseRate = (text: unknown): number | undefined => {
  if (text === undefined) return undefined;
  const match = /^(\d+)(\/s)?$/.exec(String(text));
  if (match === null || Number(match[1]) < 1) throw new UsageError(`--rate ${text}: use N/s`);
  return Number(match[1]);
};

const produce = async (
  client: Client,
  topic: string,
  files: readonly string[],
  flags: Flags,
  io: Io,
): Promise<void> => {
  const shape = shapeOf(topic, flags);
  const partitions = await client.partitionCount(topic);
  if (shape.partition !== undefined && shape.partition >= partitions) {
    throw new MillraceError(
      ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
      `topic ${topic} has no partition ${shape.partition}: it has ${partitions}`,
    );
  }
  const producer = client.producer({
    acks: String(flags["acks"]) as NonNullable<ProducerOptions["acks"]>,
    compression: String(flags["compression"]) as NonNullable<ProducerOptions["compression"]>,
  });
  const run = new Run(producer, io, flags["printOffsets"] === true);
  const pace = pacer(parseRate(flags["rate"]));
  const startedMs = performance.now();
  const stopProgress = io.progress ? run.showProgress() : () => {};
  try {
    for await (const piece of pieces(files, flags, io)) {
      if (io.signal.aborted) break;
      await pace();
      await run.send(recordOf(piece, shape), piece.length);
    }
    await producer.flush();
  } finally {
    await run.finish();
    stopProgress();
    await write(io.stderr, run.summary((performance.now() - startedMs) / 1000));
  }
  run.throwFailure();
};

const collect = (value: string, all: readonly string[] = []): string[] => [...all, value];

export const produceCommand = (io: Io): Command =>
  clusterCommand(
    "produce",
    "Write one record per line of files or stdin",
    "echo hello | millrace produce logs --key greeting",
    io,
  )
    .argument("<TOPIC>")
    .argument("[FILE...]", "files to read; - or none is stdin")
    .option("--key-separator <S>", "the key is what stands before it in each record")
    .option("--key <K>", "key of every record")
    .option("--header <NAME=VALUE>", "a header of every record; may be repeated", collect)
    .option("--partition <P>", "partition; default: by key, else spread per batch")
    .addOption(
      new Option("--acks <ACKS>", "what to wait for")
        .choices(["all", "leader", "none"])
        .default("all"),
    )
    .addOption(
      new Option("--compression <CODEC>", "compression of batches")
        .choices(["none", "gzip", "zstd", "lz4"])
        .default("none"),
    )
    .option("--delimiter <S>", "what ends a record; \\n, \\t, \\0, \\xHH", "\\n")
    .option("--whole-file", "each file is one record")
    .option("--null-value <TOKEN>", "a record equal to it has a null value")
    .option("--rate <N/s>", "most records a second")
    .option("--print-offsets", "print PARTITION OFFSET of each acknowledged record")
    .action(async (topic: string, files: string[], flags: Flags) => {
      await checkFiles(files);
      await withClient(flags, (client) => produce(client, topic, files, flags, io));
    });

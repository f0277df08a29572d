/** Records as applications get them. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { DecodedRecord } from "@millrace/record";
import { jsonDeserializer, textDeserializer } from "../serializers.ts";
import type { ConsumedHeader, ConsumedRecord, ConsumerOptions, Deserializer } from "../types.ts";

const invalid = (
  { topic, partition, offset }: ConsumedRecord<unknown, unknown>,
  what: string,
  thrown: unknown,
): MillraceError => {
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  return new MillraceError(
    ErrorCode.INVALID_RECORD,
    `${what} of ${topic}-${partition} at offset ${offset} is not what is expected (${reason}): ` +
      "look at what its producer sends, or seek past it",
    { cause: thrown },
  );
};

const noHeaders: readonly ConsumedHeader[] = [];

/** What the records of a batch have in common. */
export interface BatchPlace {
  readonly topic: string;
  readonly partition: number;
  readonly leaderEpoch: number;
}

/** A record whose key and value are bytes. One is made for each record that is read. */
export class BytesRecord implements ConsumedRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly timestampMs: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: readonly ConsumedHeader[];
  readonly leaderEpoch: number;

  constructor(place: BatchPlace, offset: bigint, read: DecodedRecord) {
    this.topic = place.topic;
    this.partition = place.partition;
    this.offset = offset;
    this.timestampMs = read.timestampMs;
    this.key = read.key ?? null;
    this.value = read.value ?? null;
    const { headers } = read;
    this.headers =
      headers.length === 0
        ? noHeaders
        : headers.map(({ name, value }) => ({ name, value: value ?? null }));
    this.leaderEpoch = place.leaderEpoch;
  }

  text(): string | null {
    return this.value === null ? null : textDeserializer(this.value);
  }

  json(): unknown {
    if (this.value === null) return null;
    try {
      return jsonDeserializer(this.value);
    } catch (thrown) {
      throw invalid(this, "the value", thrown);
    }
  }

  keyText(): string | null {
    return this.key === null ? null : textDeserializer(this.key);
  }

  header(name: string): string | null | undefined {
    const found = this.headers.findLast((header) => header.name === name);
    if (found === undefined) return undefined;
    return found.value === null ? null : textDeserializer(found.value);
  }
}

/** A record whose key, value or both are what deserializers made of them. */
class TypedRecord<K, V> implements ConsumedRecord<K, V> {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly timestampMs: number;
  readonly key: K | null;
  readonly value: V | null;
  readonly headers: readonly ConsumedHeader[];
  readonly leaderEpoch: number;
  readonly #read: ConsumedRecord;

  constructor(read: ConsumedRecord, key: K | null, value: V | null) {
    this.topic = read.topic;
    this.partition = read.partition;
    this.offset = read.offset;
    this.timestampMs = read.timestampMs;
    this.key = key;
    this.value = value;
    this.headers = read.headers;
    this.leaderEpoch = read.leaderEpoch;
    this.#read = read;
  }

  text(): string | null {
    return this.#read.text();
  }

  json(): unknown {
    return this.#read.json();
  }

  keyText(): string | null {
    return this.#read.keyText();
  }

  header(name: string): string | null | undefined {
    return this.#read.header(name);
  }
}

const made = <T>(
  record: ConsumedRecord,
  what: "key" | "value",
  deserializer: Deserializer<T>,
): T | null => {
  const bytes = record[what];
  if (bytes === null) return null;
  try {
    return deserializer(bytes, record);
  } catch (thrown) {
    throw invalid(record, `the ${what}`, thrown);
  }
};

/** What makes the application's records of those that were read. Throws INVALID_RECORD. */
export type MakeRecord<K, V> = (record: ConsumedRecord) => ConsumedRecord<K, V>;

/** Bytes stay what they are. Types are those of `ConsumerOptionsFor`. */
const asBytes = <T>(bytes: Uint8Array): T => bytes as T;

/** Undefined without deserializers: then records are handed out as they were read. */
export const recordMaker = <K, V>({
  keyDeserializer,
  valueDeserializer,
}: ConsumerOptions<K, V>): MakeRecord<K, V> | undefined => {
  if (keyDeserializer === undefined && valueDeserializer === undefined) return undefined;
  const keyFrom = keyDeserializer ?? asBytes<K>;
  const valueFrom = valueDeserializer ?? asBytes<V>;
  return (record) =>
    new TypedRecord(record, made(record, "key", keyFrom), made(record, "value", valueFrom));
};

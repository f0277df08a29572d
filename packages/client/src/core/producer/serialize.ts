/** Keys and values of an application as they are sent. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { ProducerOptions, ProducerRecord, Sendable, Serializer } from "../types.ts";

/** Makes the record that is sent of the application's. Throws INVALID_RECORD. */
export type Serialize<K, V> = (record: ProducerRecord<K, V>) => ProducerRecord;

const made = <T>(
  what: "key" | "value",
  data: T | null | undefined,
  serializer: Serializer<T>,
  topic: string,
): Sendable | null => {
  if (data === null || data === undefined) return null;
  try {
    return serializer(data, topic);
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new MillraceError(
      ErrorCode.INVALID_RECORD,
      `the ${what} of a record for ${topic} cannot be serialized (${reason}): check the ` +
        `${what}, and ${what}Serializer`,
      { cause: thrown },
    );
  }
};

/** What can be sent stays what it is. Types are those of `ProducerOptionsFor`. */
const asItIs = <T>(data: T): Sendable => data as Sendable & T;

/** Undefined without serializers: then records are sent as they are. */
export const serializeWith = <K, V>({
  keySerializer,
  valueSerializer,
}: ProducerOptions<K, V>): Serialize<K, V> | undefined => {
  if (keySerializer === undefined && valueSerializer === undefined) return undefined;
  const keyFrom = keySerializer ?? asItIs<K>;
  const valueFrom = valueSerializer ?? asItIs<V>;
  return (record) => ({
    ...record,
    key: made("key", record.key, keyFrom, record.topic),
    value: made("value", record.value, valueFrom, record.topic),
  });
};

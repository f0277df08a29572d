/** Documents without a database, one for each key: see docs/guides/event-sourcing.md. */
import { type Client, LastOffsetMismatchError, type Producer } from "@millrace/client";

/** Where the documents are: a compacted topic, and who reads and writes it. */
export interface Store {
  readonly client: Client;
  readonly producer: Producer;
  readonly topic: string;
}

/**
 * Makes the next version of a document of the latest one, and stores it. Calls `decide` again
 * whenever another writer was first. Null, as what there is or what there is to be, is no document.
 */
export const change = async <T>(
  { client, producer, topic }: Store,
  key: string,
  decide: (now: T | null) => T | null,
): Promise<T | null> => {
  let minOffset = 0n;
  for (;;) {
    const latest = await client.getLatest({ topic, key, minOffset });
    const next = decide((latest?.json() ?? null) as T | null);
    const value = next === null ? null : JSON.stringify(next);
    try {
      const expectedLastOffsetForKey = latest?.offset ?? -1n;
      await producer.send({ topic, key, value, expectedLastOffsetForKey });
      return next;
    } catch (thrown) {
      if (!(thrown instanceof LastOffsetMismatchError)) throw thrown;
      minOffset = thrown.actualLastOffsetForKey + 1n;
    }
  }
};

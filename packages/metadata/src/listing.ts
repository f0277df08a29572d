/** Listings of the whole key space, and how they differ from a copy. */
import type { KeyValue, MetadataStore, WatchEvent } from "./api.ts";

export interface Listing {
  readonly kvs: ReadonlyMap<string, KeyValue>;
  readonly revision: number;
}

const pageKeys = 1000;

/** Everything as of one revision, page by page. */
export const listAll = async (store: MetadataStore): Promise<Listing> => {
  const first = await store.range({ prefix: "" }, { limit: pageKeys });
  const { revision } = first;
  const kvs = new Map(first.kvs.map((kv) => [kv.key, kv]));
  let page = first;
  while (page.more) {
    const startAfter = page.kvs.at(-1)?.key ?? "";
    page = await store.range({ prefix: "" }, { revision, limit: pageKeys, startAfter });
    for (const kv of page.kvs) kvs.set(kv.key, kv);
  }
  return { kvs, revision };
};

/** Revisions of different stores may be equal by chance, so that values are compared, too. */
const same = (a: KeyValue | undefined, b: KeyValue): boolean =>
  a !== undefined &&
  a.modRevision === b.modRevision &&
  a.createRevision === b.createRevision &&
  a.version === b.version &&
  Buffer.compare(a.value, b.value) === 0;

const deletion = (kv: KeyValue, modRevision: number): WatchEvent => ({
  type: "delete",
  kv: {
    ...{ key: kv.key, value: new Uint8Array(0), modRevision },
    ...{ createRevision: 0, version: 0, lease: undefined },
  },
});

/** The events that turn a copy into what a listing has found. */
export const differences = (
  copy: ReadonlyMap<string, KeyValue>,
  { kvs, revision }: Listing,
): WatchEvent[] => {
  const events: WatchEvent[] = [];
  for (const kv of kvs.values()) {
    if (!same(copy.get(kv.key), kv)) events.push({ type: "put", kv });
  }
  for (const kv of copy.values()) {
    if (!kvs.has(kv.key)) events.push(deletion(kv, revision));
  }
  return events;
};

/**
 * The same for a copy that has gone on beyond the revision of the listing: what has changed since
 * then is right. `deleted` has the keys that were deleted since the listing began.
 */
export const correction = (
  copy: ReadonlyMap<string, KeyValue>,
  deleted: ReadonlyMap<string, number>,
  { kvs, revision }: Listing,
): WatchEvent[] => {
  const events: WatchEvent[] = [];
  for (const kv of kvs.values()) {
    const known = copy.get(kv.key);
    const newer = (known?.modRevision ?? deleted.get(kv.key) ?? 0) > revision;
    if (!newer && !same(known, kv)) events.push({ type: "put", kv });
  }
  for (const kv of copy.values()) {
    if (!kvs.has(kv.key) && kv.modRevision <= revision) events.push(deletion(kv, revision));
  }
  return events;
};

/** Sees to it that nobody but the active controller changes what a cluster is. */
import { decodeRecord, keys, type MetadataStore, type Operation } from "@millrace/metadata";
import type { Kernel } from "@millrace/sim";

/** What the active controller alone writes: to each key belongs a decision. */
const decided = [
  keys.brokerIntents,
  keys.deletions,
  keys.partitions,
  keys.producerIds,
  keys.topics,
];

const keyOf = (operation: Operation): string => {
  if (operation.type === "put") return operation.key;
  const { range } = operation;
  return "key" in range ? range.key : range.prefix;
};

const decides = (operation: Operation): boolean =>
  operation.type !== "range" && decided.some((prefix) => keyOf(operation).startsWith(prefix));

/**
 * The store of a process whose controller is `controllerId`. Each of its decisions asks in the same
 * transaction who holds the election then: a run in which it is another one ends as failed. A
 * decision of an earlier reign of the same controller is not told from one of its next.
 */
export const witnessed = (
  store: MetadataStore,
  controllerId: number,
  { marks }: Pick<Kernel, "marks">,
): MetadataStore => ({
  ...store,
  txn: async (compares, then, otherwise, options) => {
    if (!then.some(decides)) return store.txn(compares, then, otherwise, options);
    const holder: Operation = { type: "range", range: { key: keys.controller } };
    const result = await store.txn(compares, [...then, holder], otherwise, options);
    if (!result.succeeded) return result;
    const told = result.results.at(-1);
    const [kv] = told?.type === "range" ? told.kvs : [];
    const active = kv === undefined ? "none" : decodeRecord.controller(kv).controllerId;
    const what = `cluster: controller ${controllerId} decides while ${active} is active`;
    marks.always(active === controllerId, what);
    return { ...result, results: result.results.slice(0, -1) };
  },
});

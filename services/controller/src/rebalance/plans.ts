/** Plans in the metadata store: read, proposed, changed. */
import { create } from "@bufbuild/protobuf";
import {
  type Compare,
  decodeRecord,
  encodeRecord,
  keys,
  type MetadataStore,
  type Operation,
} from "@millrace/metadata";
import { RebalanceState } from "@millrace/proto/common";
import {
  type RebalanceMove,
  RebalanceMovesRecordSchema,
  type RebalanceRecord,
  type RebalancesRecord,
  RebalancesRecordSchema,
} from "@millrace/proto/storage";
import { rebalanceLimits } from "../limits.ts";
import type { Write } from "../reign.ts";

export interface Stored<T> {
  readonly record: T;
  /** 0: it is not there. */
  readonly modRevision: number;
}

export type StoredPlan = Stored<RebalanceRecord>;

/** Everything that is stored of plans, but for their moves. */
export interface StoredPlans {
  readonly index: Stored<RebalancesRecord>;
  /** The newest first. */
  readonly plans: readonly StoredPlan[];
  readonly revision: number;
}

/** Plans that are neither proposed nor over: at most one, which the index names. */
export const isRunning = ({ state }: RebalanceRecord): boolean =>
  state === RebalanceState.REBALANCING ||
  state === RebalanceState.PAUSED ||
  state === RebalanceState.ABORTING;

const isOver = (record: RebalanceRecord): boolean =>
  !isRunning(record) && record.state !== RebalanceState.PROPOSED;

/** The index is read first: whoever writes by it and what follows fails where that has changed. */
export const readPlans = async (store: MetadataStore): Promise<StoredPlans> => {
  const [found] = (await store.range({ key: keys.rebalanceIndex })).kvs;
  const index =
    found === undefined
      ? { record: create(RebalancesRecordSchema, { nextId: 1 }), modRevision: 0 }
      : { record: decodeRecord.rebalanceIndex(found), modRevision: found.modRevision };
  const { kvs, revision } = await store.range({ prefix: keys.rebalances });
  const plans = kvs
    .map((kv) => ({ record: decodeRecord.rebalance(kv), modRevision: kv.modRevision }))
    .sort((a, b) => b.record.rebalanceId - a.record.rebalanceId);
  return { index, plans, revision };
};

export const isUnchanged = (
  key: string,
  { modRevision }: Pick<Stored<unknown>, "modRevision">,
): Compare => ({
  ...{ key, target: "modRevision", equals: modRevision },
});

export const putIndex = (record: RebalancesRecord): Operation => ({
  ...{ type: "put", key: keys.rebalanceIndex, value: encodeRecord.rebalanceIndex(record) },
});

export const putPlan = (record: RebalanceRecord): Operation => ({
  ...{
    type: "put",
    key: keys.rebalance(record.rebalanceId),
    value: encodeRecord.rebalance(record),
  },
});

const removeMoves = (id: number): Operation => ({
  ...{ type: "delete", range: { prefix: keys.rebalanceMovesOf(id) } },
});

/** Everything of a plan goes. */
const remove = ({ rebalanceId: id }: RebalanceRecord): Operation[] => [
  { type: "delete", range: { key: keys.rebalance(id) } },
  removeMoves(id),
];

/**
 * Stores a new plan in place of the one that was proposed before, and forgets old ones. Undefined
 * when plans have changed since they were read.
 */
export const proposePlan = async (
  write: Write,
  { index, plans }: StoredPlans,
  plan: RebalanceRecord,
  moves: readonly RebalanceMove[],
): Promise<RebalanceRecord | undefined> => {
  const rebalanceId = index.record.nextId;
  const isIndexSame = isUnchanged(keys.rebalanceIndex, index);
  const { movesPerChunk, plansKept } = rebalanceLimits;
  // What an interrupted call has left under this id goes.
  if (!(await write([isIndexSame], [removeMoves(rebalanceId)])).succeeded) return undefined;
  for (let chunk = 0; chunk * movesPerChunk < moves.length; chunk += 1) {
    const part = moves.slice(chunk * movesPerChunk, (chunk + 1) * movesPerChunk);
    const record = create(RebalanceMovesRecordSchema, { rebalanceId, chunk, moves: part });
    const key = keys.rebalanceMoves(rebalanceId, chunk);
    const value = encodeRecord.rebalanceMoves(record);
    if (!(await write([isIndexSame], [{ type: "put", key, value }])).succeeded) return undefined;
  }
  const record = { ...plan, rebalanceId };
  const proposed = plans.filter((one) => one.record.state === RebalanceState.PROPOSED);
  const old = plans.filter((one) => isOver(one.record)).slice(plansKept);
  const { succeeded } = await write(
    [isIndexSame],
    [
      ...[...proposed, ...old].flatMap((one) => remove(one.record)),
      putPlan(record),
      putIndex({ ...index.record, nextId: rebalanceId + 1 }),
    ],
  );
  return succeeded ? record : undefined;
};

/** Changes a plan, and who is running with it. Undefined when either has changed since. */
export const changePlan = async (
  write: Write,
  index: Stored<RebalancesRecord>,
  before: StoredPlan,
  record: RebalanceRecord,
): Promise<RebalanceRecord | undefined> => {
  const { rebalanceId } = record;
  const { runningId } = index.record;
  const nextRunning = isRunning(record) ? rebalanceId : runningId === rebalanceId ? 0 : runningId;
  const { succeeded } = await write(
    [isUnchanged(keys.rebalanceIndex, index), isUnchanged(keys.rebalance(rebalanceId), before)],
    [putPlan(record), putIndex({ ...index.record, runningId: nextRunning })],
  );
  return succeeded ? record : undefined;
};

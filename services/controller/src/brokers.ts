/** BrokersService: what operators want of brokers, and how far that has come. */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type Compare,
  encodeRecord,
  keys,
  type MetadataStore,
  type Operation,
} from "@millrace/metadata";
import { BrokerIntent } from "@millrace/proto/common";
import {
  type BrokerDescription,
  BrokerDescriptionSchema,
  BrokersService,
  type DescribeBrokersResponse,
  DescribeBrokersResponseSchema,
  type SetBrokerIntentRequest,
  type SetBrokerIntentResponse,
  SetBrokerIntentResponseSchema,
} from "@millrace/proto/controller";
import { BrokerIntentRecordSchema } from "@millrace/proto/storage";
import type { TopicId } from "@millrace/record";
import { bindService, ofCluster, type ServiceBinding } from "@millrace/rpc";
import type { ClusterState } from "./cluster-state.ts";
import { planDrains } from "./drain.ts";
import type { BrokerWatch } from "./heartbeats/watch.ts";
import { limits, replicaLimits } from "./limits.ts";
import { leaseMessage } from "./maintenance/answers.ts";
import type { MaintenanceWatch } from "./maintenance/watch.ts";
import { intentOf, type Placement, readPlacement, unchangedPlacement } from "./placement.ts";
import { type RegisteredBroker, Registry } from "./registry.ts";
import type { Write } from "./reign.ts";
import { type Removal, removalsDone } from "./removals.ts";

export interface BrokersHandlersOptions {
  readonly clusterId: string;
  readonly store: MetadataStore;
  /** The process whose reign guards every write, and what its mirror has read. */
  readonly active: {
    /** Throws NOT_CONTROLLER when it is not the active controller. */
    writeOfReign(): Write;
    /** Throws NOT_CONTROLLER as well. */
    watchOfReign(): Pick<BrokerWatch, "logCountOf">;
    /** Throws NOT_CONTROLLER as well. */
    maintenanceOfReign(): Pick<MaintenanceWatch, "remainingMs">;
    readonly state: ClusterState;
    waitForRevision(revision: number, timeoutMs: number): Promise<boolean>;
  };
  /** See `Controller.deletionDone`. */
  readonly deletionDone: (topicId: TopicId, brokerId: number) => Promise<void>;
}

const refuse = (code: ErrorCode, message: string): MillraceError =>
  MillraceError.refusal(code, message);

/** Partitions that have a replica on a broker, and those whose log may be left on it. */
const placesOf = (state: ClusterState, brokerId: number) => {
  let replicas = 0;
  const removals: Removal[] = [];
  for (const { record, topicId } of state.partitions.values()) {
    const { partition, removed } = record;
    if (record.replicas.includes(brokerId)) replicas += 1;
    const entry = removed.find((one) => one.brokerId === brokerId);
    if (entry !== undefined) removals.push({ topicId, partition, leaderEpoch: entry.leaderEpoch });
  }
  const deletions = [...state.deletions.values()]
    .filter(({ pending }) => pending.includes(brokerId))
    .map(({ topicId }) => topicId);
  return { replicas, removals, deletions };
};

/** Of brokers that are not registered: the one directory that the metadata names, if it is one. */
const lastDirectories = (state: ClusterState): Map<number, Uint8Array> => {
  const named = new Map<number, Map<string, Uint8Array>>();
  const add = (id: number, directoryId: Uint8Array = new Uint8Array(0)): void => {
    if (state.brokers.has(id) || directoryId.length === 0) return;
    const found = named.get(id) ?? new Map<string, Uint8Array>();
    named.set(id, found.set(Buffer.from(directoryId).toString("hex"), directoryId));
  };
  for (const { record } of state.partitions.values()) {
    for (const [at, id] of record.replicas.entries()) add(id, record.directoryIds[at]);
  }
  for (const { brokerId, directoryId, intent } of state.placement.intents.values()) {
    if (intent !== BrokerIntent.ACTIVE) add(brokerId, directoryId);
  }
  for (const { record } of state.maintenance.leases.values()) {
    add(record.brokerId, record.directoryId);
  }
  const only = [...named].filter(([, found]) => found.size === 1);
  return new Map(only.flatMap(([id, found]) => [...found.values()].map((one) => [id, one])));
};

/** One look at what is wanted of a broker. */
interface Found {
  readonly placement: Placement;
  readonly broker: RegisteredBroker | undefined;
  readonly intent: BrokerIntent;
}

export class BrokersHandlers {
  readonly #options: BrokersHandlersOptions;

  constructor(options: BrokersHandlersOptions) {
    this.#options = options;
  }

  bindings(): ServiceBinding[] {
    const service = bindService(BrokersService, {
      setBrokerIntent: (request: SetBrokerIntentRequest) => this.setBrokerIntent(request),
      describeBrokers: async () => this.describeBrokers(),
    });
    return [ofCluster(service, () => this.#options.clusterId)];
  }

  /**
   * Changes what is wanted of a broker. Throws INVALID_REQUEST, BROKER_ID_NOT_REGISTERED,
   * REASSIGNMENT_IN_PROGRESS, NOT_CONTROLLER; METADATA_STALE while it is not known what the broker
   * has; UNAVAILABLE when other intents keep changing.
   */
  async setBrokerIntent(request: SetBrokerIntentRequest): Promise<SetBrokerIntentResponse> {
    const { brokerId, intent, validateOnly } = request;
    const write = this.#options.active.writeOfReign();
    const known = [BrokerIntent.ACTIVE, BrokerIntent.CORDONED, BrokerIntent.DRAINING];
    if (![...known, BrokerIntent.DECOMMISSIONED].includes(intent)) {
      throw refuse(ErrorCode.INVALID_REQUEST, `intent ${intent} is none: see BrokerIntent`);
    }
    for (let attempt = 0; attempt < limits.attemptsMax; attempt += 1) {
      const found = await this.#find(write, brokerId);
      const isSame = found.intent === intent;
      if (!isSame && intent === BrokerIntent.DECOMMISSIONED)
        await this.#checkEmpty(brokerId, found);
      const isMade = isSame || validateOnly || (await this.#write(write, request, found));
      if (!isMade) continue;
      if (intent === BrokerIntent.DECOMMISSIONED && !validateOnly)
        await this.#forget(write, brokerId);
      const [kv] = (await this.#options.store.range({ key: keys.placement })).kvs;
      const revision = BigInt(kv?.modRevision ?? 0);
      return create(SetBrokerIntentResponseSchema, { revision });
    }
    throw new MillraceError(
      ErrorCode.UNAVAILABLE,
      `the intents of brokers keep changing under this request: retry`,
      { retryAfterMs: 100 },
    );
  }

  /** Throws NOT_CONTROLLER. */
  describeBrokers(): DescribeBrokersResponse {
    const { active } = this.#options;
    const watch = active.watchOfReign();
    const { state } = active;
    const { immovable } = planDrains(state);
    const described = new Map<number, BrokerDescription>();
    const of = (brokerId: number): BrokerDescription => {
      const one = described.get(brokerId) ?? this.#describe(state, watch, brokerId);
      described.set(brokerId, one);
      return one;
    };
    // An intent may only remember directories that were given up.
    const wanted = [...state.placement.intents.values()]
      .filter(({ intent }) => intent !== BrokerIntent.ACTIVE)
      .map(({ brokerId }) => brokerId);
    const leases = state.maintenance.leases.keys();
    for (const id of [...state.brokers.keys(), ...wanted, ...leases]) of(id);
    for (const [id, count] of immovable) of(id).immovableCount = count;
    for (const { record } of state.partitions.values()) {
      for (const id of record.replicas) of(id).replicaCount += 1;
      for (const id of record.adding) of(id).addingCount += 1;
      for (const id of record.removing) of(id).removingCount += 1;
      for (const { brokerId } of record.removed) of(brokerId).leftoverCount += 1;
      if (record.leader !== undefined) of(record.leader).leaderCount += 1;
    }
    for (const [id, directoryId] of lastDirectories(state)) of(id).directoryId = directoryId;
    const brokers = [...described.values()].sort((a, b) => a.brokerId - b.brokerId);
    const revision = BigInt(state.revision);
    return create(DescribeBrokersResponseSchema, { brokers, revision });
  }

  #describe(
    { brokers, directories, maintenance, placement, racks }: ClusterState,
    watch: Pick<BrokerWatch, "logCountOf">,
    brokerId: number,
  ): BrokerDescription {
    const epoch = brokers.get(brokerId);
    const logCount = epoch === undefined ? undefined : watch.logCountOf({ brokerId, epoch });
    const directoryId = directories.get(brokerId);
    const lease = maintenance.leases.get(brokerId);
    const leases = this.#options.active.maintenanceOfReign();
    return create(BrokerDescriptionSchema, {
      ...{ brokerId, registered: epoch !== undefined, rack: racks.get(brokerId) ?? "" },
      ...{ brokerEpoch: BigInt(epoch ?? 0), ...(directoryId && { directoryId }) },
      ...(lease && { maintenance: leaseMessage(lease, leases.remainingMs(lease)) }),
      intent: intentOf(placement, brokerId, directoryId),
      ...(logCount === undefined ? {} : { logCount }),
    });
  }

  /** Throws BROKER_ID_NOT_REGISTERED. */
  async #find(write: Write, brokerId: number): Promise<Found> {
    const { active, store } = this.#options;
    const placement = await readPlacement(store);
    const brokers = await new Registry(store, write).brokers();
    const broker = brokers.find((one) => one.brokerId === brokerId);
    const { replicas, removals, deletions } = placesOf(active.state, brokerId);
    const isNamed = replicas + removals.length + deletions.length > 0;
    if (broker === undefined && !placement.intents.has(brokerId) && !isNamed) {
      throw refuse(
        ErrorCode.BROKER_ID_NOT_REGISTERED,
        `no broker ${brokerId} is registered, or has replicas: see millrace broker list`,
      );
    }
    return { placement, broker, intent: intentOf(placement, brokerId, broker?.directoryId) };
  }

  /**
   * Whether nothing of a broker is missed. New replicas are placed on condition that no intent has
   * changed since, so none came after the broker was cordoned: a mirror that has that has them all.
   */
  async #checkEmpty(brokerId: number, { placement, broker, intent }: Found): Promise<void> {
    const { active } = this.#options;
    if (intent === BrokerIntent.ACTIVE) {
      throw refuse(
        ErrorCode.INVALID_REQUEST,
        `broker ${brokerId} is active, and may get replicas: drain it first`,
      );
    }
    if (!(await active.waitForRevision(placement.revision, replicaLimits.mirrorWaitMsMax))) {
      throw refuse(ErrorCode.METADATA_STALE, "this controller is behind the metadata store: retry");
    }
    const { state } = active;
    const { replicas, removals } = placesOf(state, brokerId);
    const inTheWay =
      state.unreadable.size > 0
        ? "metadata cannot be read, and may name it: see the controller's log"
        : replicas > 0
          ? `${replicas} partitions have a replica on it: wait until they have moved`
          : broker !== undefined && removals.length > 0
            ? `it has yet to delete the logs of ${removals.length} partitions: wait for that`
            : this.#logsInTheWay(brokerId, broker);
    if (inTheWay === undefined) return;
    throw refuse(
      ErrorCode.REASSIGNMENT_IN_PROGRESS,
      `broker ${brokerId} cannot be decommissioned: ${inTheWay}`,
    );
  }

  /** Throws METADATA_STALE while the broker has told nothing. */
  #logsInTheWay(brokerId: number, broker: RegisteredBroker | undefined): string | undefined {
    if (broker === undefined) return undefined;
    const { epoch } = broker;
    const count = this.#options.active.watchOfReign().logCountOf({ brokerId, epoch });
    if (count === undefined) {
      const text = `broker ${brokerId} has yet to tell what is on its disk: retry in a second`;
      throw refuse(ErrorCode.METADATA_STALE, text);
    }
    if (count === 0) return undefined;
    return `logs of ${count} partitions are on its disk: see its log for those that it keeps`;
  }

  /** False when an intent, or the registration, has changed meanwhile. */
  async #write(
    write: Write,
    { brokerId, intent }: SetBrokerIntentRequest,
    { placement, broker }: Found,
  ): Promise<boolean> {
    const key = keys.brokerIntent(brokerId);
    const { directoryId = placement.intents.get(brokerId)?.directoryId ?? new Uint8Array(0) } =
      broker ?? {};
    // What was given up stays so, whatever is wanted of the broker's number.
    const retiredDirectoryIds = placement.intents.get(brokerId)?.retiredDirectoryIds ?? [];
    const isForgotten = intent === BrokerIntent.ACTIVE && retiredDirectoryIds.length === 0;
    const record = create(BrokerIntentRecordSchema, {
      ...{ brokerId, intent, directoryId, retiredDirectoryIds },
    });
    const isRegistered: Compare = {
      ...{ key: keys.broker(brokerId), target: "createRevision", equals: broker?.epoch ?? 0 },
    };
    const change: Operation = isForgotten
      ? { type: "delete", range: { key } }
      : { type: "put", key, value: encodeRecord.brokerIntent(record) };
    const { succeeded } = await write(
      [unchangedPlacement(placement), isRegistered],
      [change, { type: "put", key: keys.placement, value: new Uint8Array(0) }],
    );
    return succeeded;
  }

  /** What a broker that is down would have had to delete: its directory is not used any more. */
  async #forget(write: Write, brokerId: number): Promise<void> {
    const { active, deletionDone, store } = this.#options;
    const { removals, deletions } = placesOf(active.state, brokerId);
    await removalsDone(store, write, brokerId, removals);
    for (const topicId of deletions) await deletionDone(topicId, brokerId);
  }
}

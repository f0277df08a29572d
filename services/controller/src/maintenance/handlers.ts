/** MaintenanceService: grants, keeps and takes back maintenance leases. */
import { create } from "@bufbuild/protobuf";
import type { Clock, Logger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type Compare,
  decodeRecord,
  encodeRecord,
  keys,
  type MetadataStore,
} from "@millrace/metadata";
import { MaintenanceKind } from "@millrace/proto/common";
import {
  type AcquireMaintenanceRequest,
  type AcquireMaintenanceResponse,
  AcquireMaintenanceResponseSchema,
  type ListMaintenanceResponse,
  ListMaintenanceResponseSchema,
  MaintenanceBlockerReason,
  MaintenanceService,
  type ReleaseMaintenanceRequest,
  type ReleaseMaintenanceResponse,
  ReleaseMaintenanceResponseSchema,
  type RenewMaintenanceRequest,
  type RenewMaintenanceResponse,
  RenewMaintenanceResponseSchema,
} from "@millrace/proto/controller";
import { MaintenanceRecordSchema } from "@millrace/proto/storage";
import { bindService, ofCluster, type ServiceBinding } from "@millrace/rpc";
import type { ClusterState } from "../cluster-state.ts";
import { maintenanceLimits as limits, replicaLimits } from "../limits.ts";
import type { Write } from "../reign.ts";
import { blockerMessages, leaseMessage } from "./answers.ts";
import { asJudged, grantOperations, type Registered } from "./grant.ts";
import { type Blocker, type Judgement, judge, notBack } from "./judge.ts";
import { kindName, type LeaseState, takesAway } from "./leases.ts";
import { type CheckedRequest, checkedRequest } from "./requests.ts";
import type { MaintenanceWatch } from "./watch.ts";

export interface MaintenanceHandlersOptions {
  readonly clusterId: string;
  readonly store: MetadataStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The process whose reign guards every write, and what its mirror has read. */
  readonly active: {
    /** Throws NOT_CONTROLLER when it is not the active controller. */
    writeOfReign(): Write;
    /** Throws NOT_CONTROLLER as well. */
    maintenanceOfReign(): Pick<MaintenanceWatch, "count" | "remainingMs">;
    readonly state: ClusterState;
    waitForRevision(revision: number, timeoutMs: number): Promise<boolean>;
  };
  /** Brokers of one rack that may be in maintenance together. */
  readonly perRackMax: number;
}

/** One look at a broker: the state is at least as new as what the store has said. */
interface Look {
  readonly state: ClusterState;
  readonly registered: Registered;
  readonly lease: LeaseState | undefined;
  /** Time left of the lease. */
  readonly leftMs: number;
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** That the lease is as it was read, or that there is none. */
const sameLease = (brokerId: number, lease: LeaseState | undefined): Compare => ({
  ...{ key: keys.maintenanceLease(brokerId), target: "modRevision" },
  equals: lease?.modRevision ?? 0,
});

const changing = (brokerId: number): MillraceError =>
  new MillraceError(
    ErrorCode.UNAVAILABLE,
    `what maintenance of broker ${brokerId} is judged by keeps changing: retry`,
    { retryAfterMs: 100 },
  );

const lost = (brokerId: number, token: bigint, why: string): MillraceError =>
  MillraceError.refusal(
    ErrorCode.MAINTENANCE_LEASE_LOST,
    `the maintenance lease of broker ${brokerId} with token ${token} ${why}: do nothing more ` +
      "under it, and acquire another one",
  );

const isUnknown = ({ registered, state, lease }: Look, brokerId: number): boolean =>
  registered.epoch === 0 &&
  lease === undefined &&
  !state.placement.intents.has(brokerId) &&
  ![...state.partitions.values()].some(({ record }) => record.replicas.includes(brokerId));

export class MaintenanceHandlers {
  readonly #options: MaintenanceHandlersOptions;

  constructor(options: MaintenanceHandlersOptions) {
    this.#options = options;
  }

  bindings(): ServiceBinding[] {
    const service = bindService(MaintenanceService, {
      acquireMaintenance: (request: AcquireMaintenanceRequest) => this.acquire(request),
      renewMaintenance: (request: RenewMaintenanceRequest) => this.renew(request),
      releaseMaintenance: (request: ReleaseMaintenanceRequest) => this.release(request),
      listMaintenance: async () => this.list(),
    });
    return [ofCluster(service, () => this.#options.clusterId)];
  }

  /**
   * Grants a lease in one transaction, or says what is in the way. Throws INVALID_REQUEST,
   * BROKER_ID_NOT_REGISTERED, STALE_BROKER_EPOCH, NOT_CONTROLLER, METADATA_STALE; UNAVAILABLE when
   * what it is judged by keeps changing.
   */
  async acquire(request: AcquireMaintenanceRequest): Promise<AcquireMaintenanceResponse> {
    const wanted = checkedRequest(request);
    const { brokerId, validateOnly } = wanted;
    const watch = this.#options.active.maintenanceOfReign();
    for (let attempt = 0; attempt < limits.attemptsMax; attempt += 1) {
      const look = await this.#look(brokerId);
      this.#checkBroker(look, wanted);
      const own = this.#ownLease(look, wanted);
      const judgement = this.#judge(look, wanted);
      const { blockers, unavailable } = judgement;
      if (blockers.length > 0 || validateOnly) {
        if (!validateOnly) watch.count("refused");
        const held = own === undefined ? {} : { lease: leaseMessage(own, look.leftMs) };
        return acquired({ ...judgement, mayAct: blockers.length === 0, ...held });
      }
      const lease = await this.#grant(look, wanted, own);
      if (lease === undefined) continue;
      if (own === undefined) this.#tellGranted(lease, unavailable.length);
      return acquired({ ...judgement, mayAct: true, lease: leaseMessage(lease, wanted.ttlMs) });
    }
    throw changing(brokerId);
  }

  /** Keeps a lease, and judges it anew. Throws MAINTENANCE_LEASE_LOST, and as `acquire`. */
  async renew({ brokerId, token }: RenewMaintenanceRequest): Promise<RenewMaintenanceResponse> {
    for (let attempt = 0; attempt < limits.attemptsMax; attempt += 1) {
      const look = await this.#look(brokerId);
      const lease = requireLease(look, brokerId, token);
      if (look.leftMs === 0) throw lost(brokerId, token, "has run out");
      const blockers = this.#stillInTheWay(look, lease);
      const mayAct = blockers.length === 0;
      const record = { ...lease.record, token };
      const key = keys.maintenanceLease(brokerId);
      const judged = mayAct ? asJudged(look.state, brokerId, look.registered) : [];
      const { succeeded, revision } = await this.#options.active.writeOfReign()(
        [sameLease(brokerId, lease), ...judged],
        [{ type: "put", key, value: encodeRecord.maintenance(record) }],
      );
      await this.#read(revision);
      if (!succeeded) continue;
      return create(RenewMaintenanceResponseSchema, {
        ...{ lease: leaseMessage(lease, record.ttlMs), mayAct },
        ...{ blockers: blockerMessages(blockers), blockerCount: blockers.length },
      });
    }
    throw changing(brokerId);
  }

  /** Takes a lease back once its broker is. Throws MAINTENANCE_LEASE_LOST, and as `acquire`. */
  async release(request: ReleaseMaintenanceRequest): Promise<ReleaseMaintenanceResponse> {
    const { brokerId, force, token } = request;
    const released = create(ReleaseMaintenanceResponseSchema, { released: true });
    for (let attempt = 0; attempt < limits.attemptsMax; attempt += 1) {
      const look = await this.#look(brokerId);
      const lease = force ? look.lease : requireLease(look, brokerId, token);
      const key = keys.maintenanceLease(brokerId);
      // One that cannot be read is in the way of everything until it is gone.
      if (lease === undefined && !look.state.unreadable.has(key)) return released;
      const isAwaited = lease !== undefined && takesAway(lease.record.kind) && !force;
      const blockers = isAwaited ? notBack(look.state, brokerId) : [];
      if (blockers.length > 0) {
        return create(ReleaseMaintenanceResponseSchema, {
          ...{ blockers: blockerMessages(blockers), blockerCount: blockers.length },
        });
      }
      const { succeeded, revision } = await this.#options.active.writeOfReign()(
        lease === undefined ? [] : [sameLease(brokerId, lease)],
        [{ type: "delete", range: { key } }],
      );
      await this.#read(revision);
      if (!succeeded) continue;
      this.#tellReleased(brokerId, lease, force);
      return released;
    }
    throw changing(brokerId);
  }

  /** Throws NOT_CONTROLLER. */
  list(): ListMaintenanceResponse {
    const { active } = this.#options;
    const watch = active.maintenanceOfReign();
    const { maintenance, revision } = active.state;
    const leases = [...maintenance.leases.values()]
      .sort((a, b) => a.record.brokerId - b.record.brokerId)
      .map((lease) => leaseMessage(lease, watch.remainingMs(lease)));
    return create(ListMaintenanceResponseSchema, { leases, revision: BigInt(revision) });
  }

  /** Reads what the broker is from the store, so that the state is no older than this call. */
  async #look(brokerId: number): Promise<Look> {
    const { active, store } = this.#options;
    const watch = active.maintenanceOfReign();
    const read = await store.range({ key: keys.broker(brokerId) });
    if (!(await active.waitForRevision(read.revision, replicaLimits.mirrorWaitMsMax))) {
      const text = "this controller is behind the metadata store: retry";
      throw MillraceError.refusal(ErrorCode.METADATA_STALE, text);
    }
    const [kv] = read.kvs;
    const registered =
      kv === undefined
        ? { epoch: 0, directoryId: new Uint8Array(0) }
        : { epoch: kv.createRevision, directoryId: decodeRecord.broker(kv).directoryId };
    const { state } = active;
    const lease = state.maintenance.leases.get(brokerId);
    const leftMs = lease === undefined ? 0 : watch.remainingMs(lease);
    return { state, registered, lease, leftMs };
  }

  /** Throws BROKER_ID_NOT_REGISTERED, STALE_BROKER_EPOCH. */
  #checkBroker(look: Look, { brokerEpoch, brokerId }: CheckedRequest): void {
    if (isUnknown(look, brokerId)) {
      throw MillraceError.refusal(
        ErrorCode.BROKER_ID_NOT_REGISTERED,
        `no broker ${brokerId} is registered, or has replicas: see millrace broker list`,
      );
    }
    // One that is registered with a directory that was given up counts as not registered.
    const epoch = look.state.brokers.get(brokerId) ?? 0;
    if (brokerEpoch === undefined || brokerEpoch === epoch) return;
    throw MillraceError.refusal(
      ErrorCode.STALE_BROKER_EPOCH,
      `broker ${brokerId} is ${epoch === 0 ? "not registered" : `registered under ${epoch}`}, not ` +
        `under epoch ${brokerEpoch}: decide again by its present state`,
    );
  }

  /** The lease that is asked for, where the caller holds it already. */
  #ownLease({ lease, leftMs }: Look, wanted: CheckedRequest): LeaseState | undefined {
    if (lease === undefined || leftMs === 0) return undefined;
    const { record } = lease;
    const isSame =
      record.holder === wanted.holder &&
      record.kind === wanted.kind &&
      same(record.directoryId, wanted.directoryId) &&
      record.allowUnavailable === wanted.allowUnavailable &&
      (wanted.brokerEpoch === undefined || record.brokerEpoch === BigInt(wanted.brokerEpoch));
    return isSame ? lease : undefined;
  }

  #judge({ lease, leftMs, state }: Look, wanted: CheckedRequest): Judgement {
    const judgement = judge(state, wanted, this.#options.perRackMax);
    if (lease === undefined || leftMs === 0 || lease.record.holder === wanted.holder) {
      return judgement;
    }
    const { brokerId, holder, kind } = lease.record;
    const held: Blocker = {
      ...{ reason: MaintenanceBlockerReason.HELD, brokerId },
      message:
        `${holder} holds a maintenance lease of broker ${brokerId} (${kindName(kind)}): wait ` +
        `until it is released, or runs out in ${Math.ceil(leftMs / 1000)} s`,
    };
    return { ...judgement, blockers: [held, ...judgement.blockers] };
  }

  /** Why the holder may not act now. A directory that was given up stays so. */
  #stillInTheWay({ state }: Look, { record }: LeaseState): readonly Blocker[] {
    const { brokerId, kind } = record;
    const epoch = state.brokers.get(brokerId);
    if (kind !== MaintenanceKind.RESTART || epoch === undefined) return [];
    if (BigInt(epoch) === record.brokerEpoch) {
      return judge(state, record, this.#options.perRackMax).blockers;
    }
    const message =
      `broker ${brokerId} has registered anew, under ${epoch}: release the lease, or ` +
      "acquire one for this registration";
    return [{ reason: MaintenanceBlockerReason.RESTARTED, message, brokerId }];
  }

  /** Undefined when something has changed meanwhile. */
  async #grant(
    { lease: before, registered, state }: Look,
    wanted: CheckedRequest,
    own: LeaseState | undefined,
  ): Promise<LeaseState | undefined> {
    const { active, clock } = this.#options;
    const { allowUnavailable, brokerId, directoryId, holder, kind, reason, ttlMs } = wanted;
    const record = create(MaintenanceRecordSchema, {
      ...{ brokerId, kind, holder, reason, directoryId, ttlMs, allowUnavailable },
      token: BigInt(own?.token ?? 0),
      brokerEpoch: BigInt(state.brokers.get(brokerId) ?? 0),
      grantedAtMs: own?.record.grantedAtMs ?? BigInt(clock.wallMs()),
      rack: state.racks.get(brokerId) ?? before?.record.rack ?? "",
    });
    const { succeeded, revision } = await active.writeOfReign()(
      [sameLease(brokerId, before), ...asJudged(state, brokerId, registered)],
      grantOperations(state, record, registered),
    );
    await this.#read(revision);
    if (!succeeded) return undefined;
    return { record, token: own?.token ?? revision, modRevision: revision };
  }

  /** What comes next is judged by what was written, or by what was in the way of it. */
  async #read(revision: number): Promise<void> {
    await this.#options.active.waitForRevision(revision, replicaLimits.mirrorWaitMsMax);
  }

  #tellGranted({ record, token }: LeaseState, unavailable: number): void {
    const { active, logger } = this.#options;
    active.maintenanceOfReign().count("granted");
    const { brokerId: broker, holder, kind, reason } = record;
    const fields = { broker, kind: kindName(kind), holder, reason, token, unavailable };
    logger.info(fields, "a maintenance lease is granted");
  }

  #tellReleased(broker: number, lease: LeaseState | undefined, force: boolean): void {
    const { active, logger } = this.#options;
    active.maintenanceOfReign().count("released");
    const fields = { broker, holder: lease?.record.holder, token: lease?.token };
    if (force) logger.warn(fields, "a maintenance lease is released by force");
    else logger.info(fields, "a maintenance lease is released");
  }
}

/** Throws MAINTENANCE_LEASE_LOST. */
const requireLease = ({ lease }: Look, brokerId: number, token: bigint): LeaseState => {
  if (lease === undefined) throw lost(brokerId, token, "is gone");
  if (BigInt(lease.token) === token) return lease;
  throw lost(brokerId, token, `was followed by one of ${lease.record.holder}`);
};

const acquired = (
  answer: Judgement & {
    readonly mayAct: boolean;
    readonly lease?: AcquireMaintenanceResponse["lease"];
  },
): AcquireMaintenanceResponse => {
  const { blockers, lease, mayAct, unavailable } = answer;
  return create(AcquireMaintenanceResponseSchema, {
    ...(lease === undefined ? {} : { lease }),
    ...{ mayAct, blockers: blockerMessages(blockers), blockerCount: blockers.length },
    ...{ unavailable: blockerMessages(unavailable), unavailableCount: unavailable.length },
  });
};

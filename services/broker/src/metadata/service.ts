/** GetMetadata and WatchMetadata, answered from the cluster view. */
import { create } from "@bufbuild/protobuf";
import type { Clock, Random } from "@millrace/env";
import { type Endpoint, ErrorCode, MillraceError } from "@millrace/errors";
import {
  type GetMetadataRequest,
  type GetMetadataResponse,
  GetMetadataResponseSchema,
  GroupCoordinatorSchema,
  type WatchMetadataRequest,
  type WatchMetadataResponse,
} from "@millrace/proto/metadata";
import type { ServerStream } from "@millrace/rpc";
import { featureLevel } from "../features.ts";
import { limits } from "../limits.ts";
import { canServe, GroupShards } from "./group-shards.ts";
import { brokerMessages, isSameGeneration, selectTopics, topicMessage } from "./messages.ts";
import { RouteHistory } from "./route-history.ts";
import { requireRevision } from "./staleness.ts";
import type { ClusterView, CoordinatorView } from "./view.ts";
import { MetadataWatch, type WatchContext } from "./watch.ts";

/** A coordinator that clients can reach. */
export interface ReachableCoordinator {
  readonly coordinatorId: number;
  readonly endpoint: Endpoint;
}

/** Where groups are served, as far as it is known. */
export interface Coordinators {
  of(group: string): ReachableCoordinator | undefined;
  /** In order of id. */
  all(): readonly ReachableCoordinator[];
}

/** The coordinators that are registered. */
export const registeredCoordinators = (view: ClusterView): Coordinators => {
  const shards = new GroupShards();
  const reachable = (found: CoordinatorView | undefined): ReachableCoordinator | undefined => {
    if (found?.endpoint === undefined) return undefined;
    return { coordinatorId: found.coordinatorId, endpoint: found.endpoint };
  };
  return {
    of: (group) => reachable(shards.coordinatorOfGroup(view.current, group)),
    all: () =>
      [...view.current.coordinators.values()]
        .filter(canServe)
        .toSorted((a, b) => a.coordinatorId - b.coordinatorId)
        .flatMap((one) => reachable(one) ?? []),
  };
};

/** The metadata handlers, for every process that has a cluster view. */
export class MetadataHandlers {
  readonly #context: WatchContext;
  readonly #coordinators: Coordinators;

  constructor(view: ClusterView, clock: Clock, random: Random, coordinators: Coordinators) {
    this.#coordinators = coordinators;
    const history = new RouteHistory(view, limits.metadataHistoryNamesMax);
    this.#context = { view, history, clock, random };
  }

  /** Throws METADATA_STALE when this process does not reach `min_revision` in time. */
  async getMetadata(request: GetMetadataRequest): Promise<GetMetadataResponse> {
    const { view, history } = this.#context;
    const { generation: wanted, groups, minRevision } = request;
    if (groups.length > limits.metadataGroupsMax) {
      const message = `${groups.length} groups: ask for at most ${limits.metadataGroupsMax} at once`;
      throw MillraceError.refusal(ErrorCode.INVALID_REQUEST, message);
    }
    // A revision of another generation says nothing about this one.
    const comparable = wanted.length === 0 || isSameGeneration(wanted, view.current.generation);
    if (comparable) await requireRevision(view, minRevision);
    const snapshot = view.current;
    const { clusterId, generation, controller } = snapshot;
    const onlyGroups = groups.length > 0 && request.topics.length === 0;
    return create(GetMetadataResponseSchema, {
      ...{ clusterId, generation, featureLevel },
      revision: BigInt(history.revision),
      brokers: brokerMessages(snapshot),
      topics: onlyGroups ? [] : selectTopics(snapshot, request.topics).map(topicMessage),
      coordinators: groups.flatMap((group) => {
        const found = this.#coordinators.of(group);
        return found === undefined ? [] : create(GroupCoordinatorSchema, { group, ...found });
      }),
      groupCoordinators: this.#coordinators.all().map((one) => create(GroupCoordinatorSchema, one)),
      ...(controller === undefined ? {} : { controller }),
    });
  }

  watchMetadata(
    request: WatchMetadataRequest,
    stream: ServerStream<never, WatchMetadataResponse>,
  ): Promise<void> {
    return new MetadataWatch(this.#context, request, stream).run();
  }
}

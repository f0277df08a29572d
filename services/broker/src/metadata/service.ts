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
import { GroupShards } from "./group-shards.ts";
import { brokerMessages, isSameGeneration, selectTopics, topicMessage } from "./messages.ts";
import { RouteHistory } from "./route-history.ts";
import { requireRevision } from "./staleness.ts";
import type { ClusterView } from "./view.ts";
import { MetadataWatch, type WatchContext } from "./watch.ts";

/** Where a group is served, as far as it is known. */
export type CoordinatorOf = (
  group: string,
) => { readonly coordinatorId: number; readonly endpoint: Endpoint } | undefined;

/** Where the registered coordinators serve a group. */
export const registeredCoordinator = (view: ClusterView): CoordinatorOf => {
  const shards = new GroupShards();
  return (group) => {
    const found = shards.coordinatorOfGroup(view.current, group);
    if (found?.endpoint === undefined) return undefined;
    return { coordinatorId: found.coordinatorId, endpoint: found.endpoint };
  };
};

/** The metadata handlers, for every process that has a cluster view. */
export class MetadataHandlers {
  readonly #context: WatchContext;
  readonly #coordinatorOf: CoordinatorOf;

  constructor(view: ClusterView, clock: Clock, random: Random, coordinatorOf: CoordinatorOf) {
    this.#coordinatorOf = coordinatorOf;
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
        const found = this.#coordinatorOf(group);
        return found === undefined ? [] : create(GroupCoordinatorSchema, { group, ...found });
      }),
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

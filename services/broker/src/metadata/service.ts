/** GetMetadata and WatchMetadata, answered from the cluster view. */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type GetMetadataRequest,
  type GetMetadataResponse,
  GetMetadataResponseSchema,
  type WatchMetadataRequest,
  type WatchMetadataResponse,
  WatchMetadataResponseSchema,
} from "@millrace/proto/metadata";
import { topicIdBytes } from "@millrace/record";
import type { ServerStream } from "@millrace/rpc";
import { featureLevel } from "../features.ts";
import { limits } from "../limits.ts";
import type { ClusterSnapshot, ClusterView, TopicView } from "./view.ts";

const topicMessage = (topic: TopicView) => ({
  name: topic.name,
  topicId: topicIdBytes(topic.id),
  partitions: topic.partitions.map((view) => ({
    partition: view.partition,
    ...(view.leader === undefined ? {} : { leader: view.leader }),
    leaderEpoch: view.leaderEpoch,
  })),
});

const brokerMessages = (snapshot: ClusterSnapshot) =>
  [...snapshot.brokers.values()].map(({ brokerId, endpoint, rack }) => ({
    brokerId,
    endpoint,
    rack,
  }));

const select = (snapshot: ClusterSnapshot, names: readonly string[]): TopicView[] =>
  names.length === 0
    ? [...snapshot.topics.values()]
    : [...new Set(names)].flatMap((name) => snapshot.topics.get(name) ?? []);

/** The metadata handlers, for every process that has a cluster view. */
export class MetadataHandlers {
  readonly #view: ClusterView;

  constructor(view: ClusterView) {
    this.#view = view;
  }

  async getMetadata(request: GetMetadataRequest): Promise<GetMetadataResponse> {
    const wanted = Number(request.minRevision);
    if (this.#view.current.revision < wanted) {
      const reached = await this.#view.waitForRevision(wanted, limits.metadataWaitMsMax);
      if (!reached) {
        throw new MillraceError(
          ErrorCode.METADATA_STALE,
          `the metadata here is at revision ${this.#view.current.revision}, not yet ${wanted}: retry`,
        );
      }
    }
    const snapshot = this.#view.current;
    return create(GetMetadataResponseSchema, {
      clusterId: snapshot.clusterId,
      revision: BigInt(snapshot.revision),
      featureLevel,
      brokers: brokerMessages(snapshot),
      topics: select(snapshot, request.topics).map(topicMessage),
      controller: snapshot.controller,
    });
  }

  /**
   * While the write queue of the stream is full, only the names of changed topics are kept, so a
   * slow watcher costs little memory.
   */
  async watchMetadata(
    request: WatchMetadataRequest,
    stream: ServerStream<never, WatchMetadataResponse>,
  ): Promise<void> {
    const names = new Set(request.topics);
    const pending = new Set<string>();
    let brokersChanged = true;
    let wake: () => void = () => {};
    const stop = this.#view.onChange((change) => {
      for (const name of [...change.changed, ...change.deleted]) {
        if (names.size === 0 || names.has(name)) pending.add(name);
      }
      brokersChanged ||= change.brokersChanged;
      wake();
    });
    const { signal } = stream.context;
    const onAbort = (): void => wake();
    signal.addEventListener("abort", onAbort);
    try {
      for (const topic of select(this.#view.current, request.topics)) pending.add(topic.name);
      let snapshot = true;
      while (!signal.aborted) {
        const sent = stream.write(this.#changes(snapshot, pending, brokersChanged));
        snapshot = false;
        pending.clear();
        brokersChanged = false;
        if (!sent) await stream.drained();
        while (pending.size === 0 && !brokersChanged && !signal.aborted) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      stop();
      signal.removeEventListener("abort", onAbort);
    }
  }

  #changes(
    snapshot: boolean,
    names: ReadonlySet<string>,
    brokersChanged: boolean,
  ): WatchMetadataResponse {
    const now = this.#view.current;
    const topics = [...names].flatMap((name) => now.topics.get(name) ?? []);
    return create(WatchMetadataResponseSchema, {
      snapshot,
      clusterId: now.clusterId,
      revision: BigInt(now.revision),
      ...(snapshot ? { featureLevel } : {}),
      ...(brokersChanged ? { brokers: { brokers: brokerMessages(now) } } : {}),
      topics: topics.map(topicMessage),
      deletedTopics: [...names].filter((name) => !now.topics.has(name)),
      controller: now.controller ?? { host: "" },
    });
  }
}

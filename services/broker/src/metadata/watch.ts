/** One WatchMetadata stream: a snapshot or what changed since, then changes and heartbeats. */
import { create } from "@bufbuild/protobuf";
import type { Clock, Random } from "@millrace/env";
import { formatEndpoint } from "@millrace/errors";
import { EndpointSchema } from "@millrace/proto/common";
import {
  BrokerListSchema,
  type WatchMetadataRequest,
  type WatchMetadataResponse,
  WatchMetadataResponseSchema,
} from "@millrace/proto/metadata";
import type { ServerStream } from "@millrace/rpc";
import { featureLevel } from "../features.ts";
import { limits } from "../limits.ts";
import {
  brokerMessages,
  isSameGeneration,
  routeMessage,
  selectTopics,
  topicMessage,
} from "./messages.ts";
import type { Position, RouteHistory, RoutesChanged } from "./route-history.ts";
import { requireRevision } from "./staleness.ts";
import type { ClusterView } from "./view.ts";

export interface WatchContext {
  readonly view: ClusterView;
  readonly history: RouteHistory;
  readonly clock: Clock;
  readonly random: Random;
}

type Stream = ServerStream<never, WatchMetadataResponse>;

/**
 * While the write queue of the stream is full, only the names of changed topics are kept: a slow
 * watcher costs little memory, and is told the newest state later.
 */
export class MetadataWatch {
  readonly #context: WatchContext;
  readonly #request: WatchMetadataRequest;
  readonly #stream: Stream;
  readonly #wanted: ReadonlySet<string>;
  readonly #generation: Uint8Array;
  readonly #pending = new Set<string>();
  #brokers = false;
  /** What the client was told about the controller. */
  #controller: string | undefined;
  #told: Position = 0;
  #wake: () => void = () => {};

  constructor(context: WatchContext, request: WatchMetadataRequest, stream: Stream) {
    this.#context = context;
    this.#request = request;
    this.#stream = stream;
    this.#wanted = new Set(request.topics);
    this.#generation = context.view.current.generation;
  }

  /**
   * Resolves when the client cancels, the server drains or the generation changes. Throws
   * METADATA_STALE when this process does not reach the client's revision in time.
   */
  async run(): Promise<void> {
    const { signal, draining } = this.#stream.context;
    const wake = (): void => this.#wake();
    const stop = this.#context.history.onChange((change) => this.#note(change));
    signal.addEventListener("abort", wake);
    draining.addEventListener("abort", wake);
    try {
      let message = await this.#first();
      while (!this.#over) {
        if (!this.#stream.write(message)) await this.#stream.drained();
        await this.#newsOrHeartbeat();
        message = this.#changes();
      }
    } finally {
      stop();
      signal.removeEventListener("abort", wake);
      draining.removeEventListener("abort", wake);
    }
  }

  get #over(): boolean {
    const { signal, draining } = this.#stream.context;
    if (signal.aborted || draining.aborted) return true;
    return Buffer.compare(this.#context.view.current.generation, this.#generation) !== 0;
  }

  #note({ names, brokers }: RoutesChanged): void {
    for (const name of names) {
      if (this.#wanted.size === 0 || this.#wanted.has(name)) this.#pending.add(name);
    }
    this.#brokers ||= brokers;
    this.#wake();
  }

  async #first(): Promise<WatchMetadataResponse> {
    const { view, history } = this.#context;
    const after = this.#request.afterRevision;
    const resumes = isSameGeneration(this.#generation, this.#request.generation) && after > 0n;
    if (resumes) await requireRevision(view, after);
    const known = resumes ? history.since(Number(after)) : undefined;
    let message: WatchMetadataResponse;
    if (known === undefined) message = this.#everything();
    else {
      this.#told = known.position;
      this.#brokers = history.brokersAt > known.position;
      this.#note({ names: [...known.names], brokers: false });
      message = this.#changes();
    }
    message.clusterId = view.current.clusterId;
    message.generation = this.#generation;
    message.featureLevel = featureLevel;
    message.heartbeatIntervalMs = limits.heartbeatIntervalMs;
    return message;
  }

  #everything(): WatchMetadataResponse {
    const { view, history } = this.#context;
    this.#pending.clear();
    this.#brokers = true;
    this.#told = history.position;
    const message = this.#changes();
    message.snapshot = true;
    message.topics = selectTopics(view.current, this.#request.topics).map(topicMessage);
    return message;
  }

  /** What the client does not know yet; a revision alone when there is nothing. */
  #changes(): WatchMetadataResponse {
    const { view, history } = this.#context;
    const now = view.current;
    const message = create(WatchMetadataResponseSchema, { revision: BigInt(history.revision) });
    for (const name of this.#pending) {
      const change = history.changeOf(name, this.#told);
      if (change.kind === "deleted") message.deletedTopics.push(name);
      else if (change.kind === "whole") message.topics.push(topicMessage(change.topic));
      else {
        for (const one of change.partitions) message.routes.push(routeMessage(change.topic, one));
      }
    }
    if (this.#brokers) message.brokers = create(BrokerListSchema, { brokers: brokerMessages(now) });
    const controller = now.controller === undefined ? "" : formatEndpoint(now.controller);
    if (controller !== this.#controller) {
      message.controller = create(EndpointSchema, now.controller ?? {});
    }
    this.#pending.clear();
    this.#brokers = false;
    this.#controller = controller;
    this.#told = history.position;
    return message;
  }

  /** Resolves when there is something to tell, the stream is over, or a heartbeat is due. */
  async #newsOrHeartbeat(): Promise<void> {
    const { clock, random } = this.#context;
    let due = false;
    const cancel = clock.timer(limits.heartbeatIntervalMs * (0.5 + random.float()), () => {
      due = true;
      this.#wake();
    });
    while (!due && this.#pending.size === 0 && !this.#brokers && !this.#over) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    cancel();
  }
}

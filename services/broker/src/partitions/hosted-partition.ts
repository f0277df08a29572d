/** A partition that the metadata gives to this broker: its replica, and the work that it needs. */
import type { TopicConfig } from "@millrace/config";
import type { Env } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import type { LogManager } from "@millrace/log";
import type { PartitionView, TopicView } from "../metadata/view.ts";
import type { Creations } from "./creations.ts";
import { logConfigOf } from "./log-config.ts";
import { Replica, type ReplicaContext } from "./replica.ts";
import { SerialWork, type Work } from "./serial-work.ts";

/** What all partitions of a broker share. */
export interface HostContext {
  readonly env: Pick<Env, "clock" | "logger">;
  readonly logs: LogManager;
  readonly creations: Creations;
  readonly replicas: ReplicaContext;
}

/** Its work waits for no other partition's, but for a place among the creations. */
export class HostedPartition implements Work {
  readonly replica: Replica;
  readonly #context: HostContext;
  readonly #work: SerialWork;

  constructor(context: HostContext, topic: TopicView, view: PartitionView, config: TopicConfig) {
    this.#context = context;
    this.replica = new Replica(context.replicas, topic, view, config);
    this.#work = new SerialWork(context.env.clock, this);
    this.#work.request();
  }

  /** Resolves when its work is done or has failed; undefined when nothing is under way. */
  get working(): Promise<void> | undefined {
    return this.#work.running;
  }

  /** Takes up a view, synchronously; the I/O for it follows. */
  take(view: PartitionView, config: TopicConfig): void {
    if (this.replica.take(view, config)) this.#work.request();
  }

  /** The registration of a broker is another one. */
  registrationsChanged(): void {
    this.replica.registrationsChanged();
    if (this.replica.isToBeCopiedAnew) this.#work.request();
  }

  close(): void {
    this.replica.close();
    this.#work.close();
  }

  /** Of `Work`: makes the log, and does what the view asks for. */
  async run(): Promise<void> {
    const { replica } = this;
    await this.#open();
    if (replica.isToBeCopiedAnew) {
      await this.#discard();
      await this.#open();
    }
    await replica.followView();
  }

  async #open(): Promise<void> {
    const { creations, logs } = this.#context;
    const { replica } = this;
    const { topic, topicId, partition } = replica;
    if (replica.state.kind !== "none") return;
    const log = await creations.run(topicId, async () => {
      // It may have been closed while it waited for its place.
      if (replica.state.kind !== "none") return undefined;
      return logs.create(topicId, topic, partition, logConfigOf(replica.config));
    });
    if (log !== undefined) replica.opened(log);
  }

  /** Deletes a damaged log that counts for nothing. */
  async #discard(): Promise<void> {
    const { creations, env, logs } = this.#context;
    const { replica } = this;
    const { partition, state, topic, topicId } = replica;
    const reason = state.kind === "offline" ? state.reason : "";
    await creations.run(topicId, async () => {
      // It may be in sync by now, or given up.
      if (!replica.isToBeCopiedAnew) return;
      env.logger.error(
        { topic, partition, reason },
        "a damaged log is deleted, and copied anew from the leader: check the disk",
      );
      await logs.delete(topicId, partition);
      replica.discarded();
    });
  }

  failed(thrown: unknown, retryMs: number): void {
    const { topic, partition } = this.replica;
    this.#context.env.logger.error(
      { topic, partition, retry_ms: retryMs, err: MillraceError.from(thrown) },
      "a partition cannot be started: it is tried again",
    );
  }
}

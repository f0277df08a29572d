/** From a request's bytes to an acknowledged append. Shared by Produce and ProduceOnce. */
import type { Clock, Compressor } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { AppendBatch, LogManager } from "@millrace/log";
import { Acks } from "@millrace/proto/common";
import { type ValidatedBatch, validateBatch, type WirePartitionError } from "@millrace/record";
import { type CallContext, refuseOtherCluster } from "@millrace/rpc";
import { limits } from "../limits.ts";
import type { BrokerMetrics } from "../metrics.ts";
import { isCompacted } from "../partitions/log-config.ts";
import type { Replica } from "../partitions/replica.ts";
import type { PartitionAddress, ReplicaManager } from "../partitions/replica-manager.ts";
import { checkConditions, checkOneKey } from "./conditions.ts";
import { type AppendCallback, type AppendConditions, PendingAppend } from "./pending-append.ts";

/** Where a batch goes. */
export interface AppendTarget extends PartitionAddress, AppendConditions {
  readonly leaderEpoch: number | undefined;
  readonly bodyCrc: number | undefined;
  /** This broker gave the records their timestamps. */
  readonly ownTime?: boolean;
}

export interface AppenderContext {
  readonly clock: Clock;
  readonly compressor: Compressor;
  readonly logs: LogManager;
  readonly replicas: ReplicaManager;
  readonly metrics: BrokerMetrics;
  readonly identity: { readonly clusterId: string; readonly brokerId: number };
}

/** In-band form of an error. Says also what a client may do that does not know the code. */
export const wirePartitionError = (error: MillraceError): WirePartitionError => ({
  code: error.code,
  message: error.message,
  leaderHint:
    error.leaderHint === undefined
      ? undefined
      : { ...error.leaderHint, metadataRevision: Number(error.leaderHint.metadataRevision) },
  retryAfterMs: error.retryAfterMs,
  retriable: error.spec.retriable,
  refreshMetadata: error.spec.refreshMetadata,
  sideEffects: error.spec.sideEffects,
  actualEndOffset: error.actualEndOffset === undefined ? undefined : Number(error.actualEndOffset),
  actualLastOffsetForKey:
    error.actualLastOffsetForKey === undefined ? undefined : Number(error.actualLastOffsetForKey),
});

/** A validated batch, with its keys where the topic is compacted. */
type Checked = AppendBatch & Pick<ValidatedBatch, "keys">;

const withOwnTime = (batch: Checked | Promise<Checked>): Checked | Promise<Checked> =>
  batch instanceof Promise ? batch.then(withOwnTime) : { ...batch, ownTime: true };

/** Validates batches, appends them, and reports once the requested acks are met. */
export class Appender {
  readonly clock: Clock;
  readonly identity: AppenderContext["identity"];
  readonly #context: AppenderContext;
  /** Validations under way, by partition: appends keep the order of requests. */
  readonly #pendingValidation = new Map<Replica, Promise<void>>();
  #validatingBytes = 0;

  constructor(context: AppenderContext) {
    this.#context = context;
    this.clock = context.clock;
    this.identity = context.identity;
  }

  /** Checks what the opening message of a stream says about the client. */
  checkClient(clientId: string, clusterId: string): void {
    if (Buffer.byteLength(clientId) > limits.clientIdBytesMax) {
      throw MillraceError.refusal(
        ErrorCode.INVALID_REQUEST,
        `client_id is longer than ${limits.clientIdBytesMax} bytes: send a shorter one`,
      );
    }
    refuseOtherCluster(this.identity.clusterId, clusterId);
  }

  /** Calls `tell` once, when the server begins to shut down. Returns how to stop. */
  onDrain(context: CallContext, tell: (graceMs: number) => void): () => void {
    const listener = (): void => tell(limits.drainGraceMs);
    context.draining.addEventListener("abort", listener, { once: true });
    return () => context.draining.removeEventListener("abort", listener);
  }

  /** Back-pressure: undefined while the log has room, otherwise a promise for it. */
  waitForCapacity(): Promise<void> | undefined {
    const { pendingBytes, pendingBytesMax } = this.#context.logs.gauges();
    const over = pendingBytes + this.#validatingBytes > pendingBytesMax * 0.75;
    return over ? this.#context.logs.waitForPendingRoom() : undefined;
  }

  /** Appends a batch. Never throws, and never calls `done` synchronously. */
  append(target: AppendTarget, body: Uint8Array, acks: Acks, done: AppendCallback): void {
    const append = new PendingAppend(this.#context, target, acks, done);
    try {
      checkConditions(append);
      const replica = this.#context.replicas.find(target);
      append.meter = replica.meter;
      replica.requireLeader(target.leaderEpoch);
      const waiting = this.#pendingValidation.get(replica);
      const checked = this.#validate(replica, body, target.bodyCrc);
      const validated = target.ownTime === true ? withOwnTime(checked) : checked;
      if (waiting === undefined && !(validated instanceof Promise)) {
        this.#appendNow(replica, target.leaderEpoch, validated, append);
        return;
      }
      this.#appendLater(replica, waiting, validated, body.length, target.leaderEpoch, append);
    } catch (thrown) {
      append.refuse(thrown);
    }
  }

  #validate(
    replica: Replica,
    body: Uint8Array,
    bodyCrc: number | undefined,
  ): Checked | Promise<Checked> {
    const { config } = replica;
    return validateBatch(
      body,
      bodyCrc,
      {
        bodyBytesMax: Math.min(config["max.message.bytes"], limits.messageBytesMax),
        recordCountMax: limits.recordCountMax,
        inflatedBytesMax: limits.inflatedBytesMax,
        timestampAfterMaxMs: config["message.timestamp.after.max.ms"],
        timestampBeforeMaxMs: config["message.timestamp.before.max.ms"],
        nowMs: this.clock.wallMs(),
        needsKeys: isCompacted(config),
      },
      this.#context.compressor,
    );
  }

  #appendLater(
    replica: Replica,
    waiting: Promise<void> | undefined,
    validated: Checked | Promise<Checked>,
    bytes: number,
    leaderEpoch: number | undefined,
    append: PendingAppend,
  ): void {
    this.#validatingBytes += bytes;
    const run = async (): Promise<void> => {
      const settled = await Promise.resolve(validated).then(
        (batch) => ({ batch }),
        (error: unknown) => ({ error }),
      );
      await waiting;
      this.#validatingBytes -= bytes;
      if ("error" in settled) append.refuse(settled.error);
      else this.#appendNow(replica, leaderEpoch, settled.batch, append);
    };
    const mine = run().finally(() => {
      if (this.#pendingValidation.get(replica) === mine) this.#pendingValidation.delete(replica);
    });
    this.#pendingValidation.set(replica, mine);
  }

  #count(replica: Replica, { body, info }: AppendBatch): void {
    this.#context.metrics.onAppend(info.recordCount, body.length);
    replica.meter.onAppend(info.recordCount, body.length);
  }

  /** Order, epoch, in-sync replicas and conditions are judged in the step of the append. */
  #appendNow(
    replica: Replica,
    leaderEpoch: number | undefined,
    batch: Checked,
    append: PendingAppend,
  ): void {
    try {
      append.keys = batch.keys;
      if (append.expectedLastOffsetForKey !== undefined) checkOneKey(batch.keys);
      append.order?.check();
      replica.append(batch, leaderEpoch, append);
      if (append.isNew) this.#count(replica, batch);
      if (append.acks === Acks.NONE) this.clock.defer(() => append.settle(undefined));
    } catch (thrown) {
      append.refuse(thrown);
    }
  }
}

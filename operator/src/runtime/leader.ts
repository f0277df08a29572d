/**
 * Which of several operators acts: the holder of a Lease. Others take it over when they have seen
 * no renewal for its duration, by their own clocks; the holder stops earlier, by its own clock. No
 * two clocks are ever compared.
 */
import type { Cancel, Clock, Logger, Random } from "@millrace/env";
import { messageOf } from "./errors.ts";
import type { KubernetesApi, KubernetesObject, ObjectKey, ResourceType } from "./kubernetes.ts";
import { noRuntimeMetrics, type RuntimeMetrics } from "./metrics.ts";
import { microTimestamp } from "./timestamps.ts";

export interface LeaseSpec {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

export interface Lease extends KubernetesObject {
  readonly spec?: LeaseSpec;
}

export const leaseType: ResourceType<Lease> = {
  group: "coordination.k8s.io",
  version: "v1",
  kind: "Lease",
  plural: "leases",
  namespaced: true,
};

export interface LeaderOptions {
  readonly api: Pick<KubernetesApi, "get" | "create" | "replace">;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics?: RuntimeMetrics;
  readonly lease: ObjectKey;
  /** Of this life of the process: a later one has another. */
  readonly identity: string;
  /** After how long without a renewal others take over. */
  readonly leaseMs?: number;
  /** After how long without a renewal this process stops to act. */
  readonly renewMs?: number;
  readonly retryMs?: number;
  /** Longest that a write may be under way: it must have ended when others take over. */
  readonly writeMs?: number;
  onLeading(): void;
  /** The process has to end: it cannot know any more that it is the only one. Called once. */
  onLost(reason: string): void;
}

export const leaderDefaults = {
  leaseMs: 15_000,
  renewMs: 10_000,
  retryMs: 2000,
  writeMs: 4000,
} as const;

type State = "waiting" | "leading" | "lost" | "stopped";

export class LeaderElection {
  readonly #options: LeaderOptions & Required<Pick<LeaderOptions, keyof typeof leaderDefaults>>;
  readonly #metrics: RuntimeMetrics;
  readonly #stopping = new AbortController();
  #state: State = "waiting";
  /** The lease as it was last seen to change, and when. */
  #seen: { readonly text: string; readonly atMs: number } | undefined;
  /** When the last renewal that succeeded was sent, by both clocks. */
  #renewed = { monoMs: 0, wallMs: 0 };
  #running: Promise<void> | undefined;
  #cancelExpiry: Cancel = () => {};

  constructor(options: LeaderOptions) {
    this.#options = { ...leaderDefaults, ...options };
    this.#metrics = options.metrics ?? noRuntimeMetrics;
    const { leaseMs, renewMs, retryMs, writeMs } = this.#options;
    if (renewMs + writeMs > leaseMs || retryMs >= renewMs) {
      throw new Error(
        `a lease of ${leaseMs} ms is too short for ${renewMs} ms between renewals ` +
          `and writes of ${writeMs} ms: lengthen it`,
      );
    }
  }

  /**
   * Whether this process may write now. False from the moment when its lease may lapse before the
   * write has ended. A wall clock that runs ahead, as after a suspended machine, counts as well.
   */
  get isLeading(): boolean {
    return this.#state === "leading" && this.#leftMs > 0;
  }

  get #leftMs(): number {
    const { clock, renewMs } = this.#options;
    const mono = clock.monoMs() - this.#renewed.monoMs;
    const wall = clock.wallMs() - this.#renewed.wallMs;
    return renewMs - Math.max(mono, wall);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Hands the lease on. Call it when nothing writes any more. */
  async stop(): Promise<void> {
    const wasLeading = this.isLeading;
    if (this.#state !== "lost") this.#state = "stopped";
    this.#cancelExpiry();
    this.#stopping.abort(new Error("the election was stopped"));
    await this.#running;
    if (wasLeading) await this.#release();
  }

  async #run(): Promise<void> {
    const { clock, random, retryMs, logger } = this.#options;
    while (this.#state === "waiting" || this.#state === "leading") {
      try {
        await this.#tryOnce();
      } catch (error) {
        logger.warn({ reason: messageOf(error) }, "the leader lease could not be read or renewed");
      }
      // Standbys spread out, so that they do not all try at one moment.
      const ms = this.#state === "leading" ? retryMs : retryMs * (1 + random.float() * 0.2);
      await clock.sleep(ms, this.#stopping.signal).catch(() => undefined);
    }
  }

  /** Takes the lease if it is free, renews it if it is held by this process. */
  async #tryOnce(): Promise<void> {
    const { api, clock, identity, lease: key } = this.#options;
    const found = await this.#inTime(api.get(leaseType, key));
    if (found !== undefined && !this.#isFree(found)) {
      // Somebody else holds what this process believed to hold.
      if (this.#state === "leading") this.#lose(`${found.spec?.holderIdentity} holds the lease`);
      return;
    }
    const sent = { monoMs: clock.monoMs(), wallMs: clock.wallMs() };
    const spec = this.#specAfter(found?.spec);
    if (found === undefined) {
      const apiVersion = "coordination.k8s.io/v1";
      await api.create(leaseType, { apiVersion, kind: "Lease", metadata: key, spec });
    } else await api.replace(leaseType, { ...found, spec });
    if (this.#state === "leading" || this.#state === "waiting") this.#took(sent, identity);
  }

  /** A slow read must not cost the lease: it is given up while there is time for another one. */
  async #inTime<T>(read: Promise<T>): Promise<T> {
    const { clock, retryMs } = this.#options;
    const { promise: late, reject } = Promise.withResolvers<never>();
    const error = new Error(`the lease could not be read within ${retryMs} ms`);
    const cancel = clock.timer(retryMs, () => reject(error));
    try {
      return await Promise.race([read, late]);
    } finally {
      cancel();
    }
  }

  /** Whether this process may take the lease: its own, nobody's, or one that nobody has renewed. */
  #isFree({ metadata, spec }: Lease): boolean {
    const { clock, identity, leaseMs } = this.#options;
    const { holderIdentity = "", leaseDurationSeconds } = spec ?? {};
    if (holderIdentity === "" || holderIdentity === identity) return true;
    const text = `${metadata.uid} ${metadata.resourceVersion}`;
    if (this.#seen?.text !== text) this.#seen = { text, atMs: clock.monoMs() };
    const durationMs = Math.max(leaseMs, (leaseDurationSeconds ?? 0) * 1000);
    return clock.monoMs() - this.#seen.atMs >= durationMs;
  }

  #specAfter(before: LeaseSpec | undefined): LeaseSpec {
    const { clock, identity, leaseMs } = this.#options;
    const now = microTimestamp(clock.wallMs());
    const isOwn = before?.holderIdentity === identity;
    const transitions = before?.leaseTransitions ?? 0;
    return {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseMs / 1000),
      acquireTime: isOwn ? (before.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: before === undefined || isOwn ? transitions : transitions + 1,
    };
  }

  #took(sent: { monoMs: number; wallMs: number }, identity: string): void {
    const { clock, logger, onLeading } = this.#options;
    this.#renewed = sent;
    if (this.#leftMs <= 0) {
      if (this.#state === "leading") this.#lose("the answer to the last renewal came too late");
      return;
    }
    this.#cancelExpiry();
    this.#cancelExpiry = clock.timer(this.#leftMs, () => this.#expire());
    if (this.#state === "leading") return;
    this.#state = "leading";
    this.#metrics.onLeader(true);
    logger.info({ identity }, "this operator leads");
    onLeading();
  }

  #expire(): void {
    if (this.#state === "leading") this.#lose(`no renewal for ${this.#options.renewMs} ms`);
  }

  #lose(reason: string): void {
    this.#state = "lost";
    this.#cancelExpiry();
    this.#metrics.onLeader(false);
    this.#options.logger.error({ reason }, "the leader lease is lost; this process has to end");
    this.#options.onLost(reason);
  }

  async #release(): Promise<void> {
    const { api, identity, lease: key, logger } = this.#options;
    this.#metrics.onLeader(false);
    try {
      const found = await api.get(leaseType, key);
      if (found?.spec?.holderIdentity !== identity) return;
      const spec = { ...found.spec, holderIdentity: "", leaseDurationSeconds: 1 };
      await api.replace(leaseType, { ...found, spec });
    } catch (error) {
      logger.info({ reason: messageOf(error) }, "the lease was not handed on; it runs out");
    }
  }
}

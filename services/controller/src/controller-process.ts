/** A controller's life: campaign, reign, campaign again. */
import type { Dialer } from "@millrace/rpc";
import { type ClusterState, StateMirror } from "./cluster-state.ts";
import { ControlLoop } from "./control-loop.ts";
import { type ControllerEndpoints, Election, type ElectionOptions } from "./election.ts";
import { BrokerWatch } from "./heartbeats/watch.ts";
import { MaintenanceWatch } from "./maintenance/watch.ts";
import { type ControllerMetrics, noMetrics } from "./metrics.ts";
import { Rebalancer } from "./rebalance/rebalancer.ts";
import { notController, type Reign, type Write } from "./reign.ts";
import { StandbyWatch } from "./standby-watch.ts";

export interface ControllerProcessOptions extends ElectionOptions {
  /** Reaches the brokers and the other controllers. */
  readonly dialer: Dialer;
  readonly metrics?: ControllerMetrics;
}

/** A reign with what runs in it. */
interface Term {
  readonly reign: Reign;
  readonly loop: ControlLoop;
  readonly watch: BrokerWatch;
  readonly maintenance: MaintenanceWatch;
  readonly rebalancer: Rebalancer;
}

export class ControllerProcess {
  readonly #options: ControllerProcessOptions;
  readonly #election: Election;
  readonly #state: StateMirror;
  readonly #waiters = new Set<() => void>();
  #term: Term | undefined;
  /** While another one is active, or none. */
  #standby: StandbyWatch | undefined;
  #closed = false;

  /** Takes part in the election from now on. */
  constructor(options: ControllerProcessOptions) {
    this.#options = options;
    const { mirror, logger } = options;
    this.#election = new Election(options);
    this.#state = new StateMirror(mirror, logger);
    void this.#run();
  }

  /** Writes as the active controller. Throws NOT_CONTROLLER when this is not the active one. */
  readonly write: Write = async (compares, operations) =>
    this.#activeTerm().reign.write(compares, operations);

  /**
   * Writes of the present reign only, for what must not be begun in one and ended in another.
   * Throws NOT_CONTROLLER when this is not the active controller.
   */
  writeOfReign(): Write {
    return this.#activeTerm().reign.write;
  }

  /** What watches over the brokers. Throws NOT_CONTROLLER when this is not the active one. */
  watchOfReign(): BrokerWatch {
    return this.#activeTerm().watch;
  }

  /** What watches over maintenance leases. Throws NOT_CONTROLLER as well. */
  maintenanceOfReign(): MaintenanceWatch {
    return this.#activeTerm().maintenance;
  }

  /** What carries plans out. Throws NOT_CONTROLLER when this is not the active one. */
  rebalancerOfReign(): Rebalancer {
    return this.#activeTerm().rebalancer;
  }

  /** Throws NOT_CONTROLLER when this is not the active controller. */
  requireActive(): void {
    this.#activeTerm();
  }

  /** What the mirror has read. */
  get state(): ClusterState {
    return this.#state.current;
  }

  /** See `Election.announce`. */
  announce(endpoints: ControllerEndpoints): Promise<void> {
    return this.#election.announce(endpoints);
  }

  /** True once the mirror has reached the revision; false when `timeoutMs` passed first. */
  waitForRevision(revision: number, timeoutMs: number): Promise<boolean> {
    return this.#options.mirror.waitForRevision(revision, timeoutMs);
  }

  /**
   * True once this is the active controller and nothing was left to change at this revision or a
   * later one; false after `timeoutMs`.
   */
  async settled(revision: number, timeoutMs: number): Promise<boolean> {
    const { clock } = this.#options;
    const endMs = clock.monoMs() + timeoutMs;
    while (!this.#closed) {
      const leftMs = endMs - clock.monoMs();
      if (leftMs <= 0) return false;
      if (this.#term === undefined) {
        await this.#nextTerm(leftMs);
        continue;
      }
      const { loop, reign } = this.#term;
      if (await loop.settled(revision, leftMs)) return true;
      if (reign.isActive) return false;
    }
    return false;
  }

  /** Ends the reign, and gives up the election's key. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#standby?.close();
    await this.#election.close();
    this.#state.close();
    this.#tell();
  }

  #activeTerm(): Term {
    if (this.#term !== undefined) return this.#term;
    throw notController(this.#election.failure ?? "another one is, or none is elected yet");
  }

  async #run(): Promise<void> {
    const { metrics = noMetrics } = this.#options;
    while (!this.#closed) {
      this.#standby = new StandbyWatch(this.#options);
      const reign = await this.#election.campaign().finally(() => this.#standby?.close());
      if (reign === undefined) return;
      const ended = Promise.withResolvers<void>();
      const shared = { ...this.#options, metrics, state: this.#state, reign };
      const loop = new ControlLoop(shared);
      const watch = new BrokerWatch(shared);
      const maintenance = new MaintenanceWatch(shared);
      const rebalancer = new Rebalancer({ ...shared, watch });
      this.#term = { reign, loop, watch, maintenance, rebalancer };
      metrics.onReign(true);
      this.#tell();
      reign.onEnd(() => {
        this.#term = undefined;
        metrics.onReign(false);
        ended.resolve();
      });
      await ended.promise;
    }
  }

  #tell(): void {
    for (const resolve of this.#waiters) resolve();
  }

  async #nextTerm(timeoutMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.timer(timeoutMs, resolve);
    this.#waiters.add(resolve);
    await promise;
    this.#waiters.delete(resolve);
    cancel();
  }
}

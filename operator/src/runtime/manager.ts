/** Informers and controllers of one process, begun and ended together. */
import type { Controller } from "./controller.ts";
import type { Informer } from "./informer.ts";
import type { KubernetesObject } from "./kubernetes.ts";

type AnyInformer = Pick<
  Informer<KubernetesObject>,
  "start" | "stop" | "report" | "hasSynced" | "aliveWithin"
>;
type AnyController = Pick<Controller<KubernetesObject>, "start" | "stop" | "aliveWithin">;

export class Manager {
  readonly #informers: readonly AnyInformer[];
  readonly #controllers: readonly AnyController[];

  constructor(informers: readonly AnyInformer[], controllers: readonly AnyController[]) {
    this.#informers = informers;
    this.#controllers = controllers;
  }

  /** Fills the caches. A standby does that, too: when it leads it goes on at once. */
  watch(): void {
    for (const informer of this.#informers) informer.start();
  }

  /** Begins to reconcile when the caches are complete. Call it when this process leads. */
  async reconcile(): Promise<void> {
    this.watch();
    await Promise.all(this.#controllers.map((controller) => controller.start()));
  }

  /** Ends what is under way; nothing is written after that. A reconcile may take its time. */
  async stop(): Promise<void> {
    await Promise.all(this.#controllers.map((controller) => controller.stop()));
    await Promise.all(this.#informers.map((informer) => informer.stop()));
  }

  /** Call it before metrics are read (`Metrics.onCollect`). */
  report(): void {
    for (const informer of this.#informers) informer.report();
  }

  /** For a readiness probe. */
  get hasSynced(): boolean {
    return this.#informers.every(({ hasSynced }) => hasSynced);
  }

  /** For a liveness probe: no watch is silent, and no reconcile stuck, for longer than `ms`. */
  aliveWithin(ms: number): boolean {
    return [...this.#informers, ...this.#controllers].every((one) => one.aliveWithin(ms));
  }
}

/**
 * Events for people (events.k8s.io/v1). The same thing about the same object is one Event with a
 * count; they are rare, few are remembered, and none holds up a reconcile.
 */
import type { Clock, Logger } from "@millrace/env";
import { isConflict, isNotFound, messageOf } from "./errors.ts";
import { hashOf } from "./json.ts";
import type { KubernetesApi, KubernetesObject, ResourceType } from "./kubernetes.ts";
import { noRuntimeMetrics, type RuntimeMetrics } from "./metrics.ts";
import { RateLimit, type RateOptions } from "./rate-limit.ts";
import { microTimestamp } from "./timestamps.ts";

export interface KubernetesEvent extends KubernetesObject {
  readonly eventTime: string;
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly action: string;
  readonly note: string;
  readonly regarding: Readonly<Record<string, string>>;
  readonly reportingController: string;
  readonly reportingInstance: string;
  readonly series?: { readonly count: number; readonly lastObservedTime: string };
}

export const eventType: ResourceType<KubernetesEvent> = {
  group: "events.k8s.io",
  version: "v1",
  kind: "Event",
  plural: "events",
  namespaced: true,
};

export type Occurrence = Pick<KubernetesEvent, "type" | "reason" | "action" | "note">;

export interface EventOptions {
  readonly api: Pick<KubernetesApi, "create" | "get" | "replace">;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics?: RuntimeMetrics;
  /** Such as `millrace.dev/operator`. */
  readonly controller: string;
  /** Of this process. */
  readonly instance: string;
  /** Different occurrences that are remembered. */
  readonly rememberedMax?: number;
  /** Writes of events that may be under way or wait. */
  readonly pendingMax?: number;
  readonly rate?: RateOptions;
  /** How often the count of a series is written. */
  readonly seriesMs?: number;
}

export const eventDefaults = {
  rememberedMax: 1000,
  pendingMax: 100,
  rate: { perSecond: 5, burst: 50 },
  seriesMs: 60_000,
} as const;

/** What the API server takes of a note. */
const noteBytesMax = 1024;

interface Known {
  readonly name: string;
  /** Occurrences that no write has told of. */
  untold: number;
  writtenMs: number;
}

export class EventRecorder {
  readonly #options: EventOptions & Required<Pick<EventOptions, keyof typeof eventDefaults>>;
  readonly #metrics: RuntimeMetrics;
  readonly #rate: RateLimit;
  readonly #known = new Map<string, Known>();
  #pending = 0;

  constructor(options: EventOptions) {
    this.#options = { ...eventDefaults, ...options };
    this.#metrics = options.metrics ?? noRuntimeMetrics;
    this.#rate = new RateLimit(options.clock, this.#options.rate);
  }

  /** Resolves when the event is written, counted, or dropped. Need not be awaited. */
  async emit(regarding: KubernetesObject, occurrence: Occurrence): Promise<void> {
    const { clock, seriesMs, pendingMax, logger } = this.#options;
    const known = this.#find(regarding, occurrence);
    known.untold += 1;
    if (known.writtenMs + seriesMs > clock.monoMs()) return;
    if (this.#pending >= pendingMax || !this.#rate.take()) {
      this.#metrics.onEventDropped();
      return;
    }
    const count = known.untold;
    known.untold = 0;
    known.writtenMs = clock.monoMs();
    this.#pending += 1;
    try {
      await this.#write(regarding, occurrence, known.name, count);
    } catch (error) {
      // The next occurrence tells of this one, too.
      known.untold += count;
      known.writtenMs = Number.NEGATIVE_INFINITY;
      this.#metrics.onEventDropped();
      logger.info({ reason: occurrence.reason, cause: messageOf(error) }, "an event was dropped");
    } finally {
      this.#pending -= 1;
    }
  }

  /** Forgets what happened longest ago where too much is known. */
  #find({ metadata }: KubernetesObject, { type, reason, action }: Occurrence): Known {
    const key = hashOf([metadata.uid, type, reason, action]);
    const name = `${metadata.name.slice(0, 200)}.${key}`;
    const known = this.#known.get(key) ?? { name, untold: 0, writtenMs: Number.NEGATIVE_INFINITY };
    this.#known.delete(key);
    this.#known.set(key, known);
    const [oldest] = this.#known.keys();
    if (this.#known.size > this.#options.rememberedMax && oldest !== undefined) {
      this.#known.delete(oldest);
    }
    return known;
  }

  /**
   * The name says what happened, so that a process that has begun anew goes on with the count. The
   * server takes a change of the series and of nothing else: the note stays the first one.
   */
  async #write(
    regarding: KubernetesObject,
    occurrence: Occurrence,
    name: string,
    count: number,
  ): Promise<void> {
    const { api, clock } = this.#options;
    const event = this.#eventOf(regarding, occurrence, name, count);
    const namespace = event.metadata.namespace ?? "";
    const found = await api.get(eventType, { namespace, name });
    if (found === undefined) {
      try {
        await api.create(eventType, event);
        return;
      } catch (error) {
        if (!isConflict(error)) throw error;
      }
    }
    const current = found ?? (await api.get(eventType, { namespace, name }));
    if (current === undefined) return;
    const series = {
      count: (current.series?.count ?? 1) + count,
      lastObservedTime: microTimestamp(clock.wallMs()),
    };
    try {
      await api.replace(eventType, { ...current, series });
    } catch (error) {
      // It has expired meanwhile; what happens next is a new one.
      if (!isNotFound(error)) throw error;
    }
  }

  #eventOf(
    { apiVersion, kind, metadata }: KubernetesObject,
    occurrence: Occurrence,
    eventName: string,
    count: number,
  ): KubernetesEvent {
    const { clock, controller, instance } = this.#options;
    const { name, namespace: own, uid = "" } = metadata;
    // Events about what lies in no namespace are in this one.
    const namespace = own ?? "default";
    const now = microTimestamp(clock.wallMs());
    const note = Buffer.from(occurrence.note).subarray(0, noteBytesMax - 3);
    return {
      ...{ apiVersion: "events.k8s.io/v1", kind: "Event" },
      metadata: { name: eventName, namespace },
      ...occurrence,
      note: note.toString().replace(/\uFFFD+$/, ""),
      eventTime: now,
      regarding: { apiVersion, kind, name, uid, ...(own === undefined ? {} : { namespace: own }) },
      reportingController: controller,
      reportingInstance: instance,
      ...(count > 1 ? { series: { count, lastObservedTime: now } } : {}),
    };
  }
}

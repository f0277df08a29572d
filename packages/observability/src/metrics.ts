/** Metrics with prom-client, which only this file imports: checked names, bounded labels. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { assert } from "@millrace/errors";
import {
  collectDefaultMetrics,
  openMetricsContentType,
  Counter as PromCounter,
  Gauge as PromGauge,
  Histogram as PromHistogram,
  prometheusContentType,
  Registry,
} from "prom-client";

/** Label values; every name must have been declared. */
export type Labels = Readonly<Record<string, string>>;

/** Only rises. */
export interface Counter {
  add(value: number, labels?: Labels): void;
}

export interface Gauge {
  set(value: number, labels?: Labels): void;
}

export interface Histogram {
  observe(value: number, labels?: Labels): void;
}

/** A metric, for the reference. */
export interface MetricDescription {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly labels: readonly string[];
}

export interface MetricOptions {
  /** `millrace_<service>_<what>_<unit>`; counters end in `_total`. */
  readonly name: string;
  readonly help: string;
  /** Each with few values: never topics times partitions times clients. */
  readonly labels?: readonly string[];
}

/** Upper bounds of latency buckets, seconds. */
export const latencyBuckets = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
] as const;

const nameGrammar =
  /^millrace_[a-z]+(_[a-z0-9]+)*_(seconds|bytes|ratio|total|count|messages|batches|info)(_total)?$/;
/** What Prometheus appends to the name of a histogram itself. */
const histogramSuffix = /_(count|sum|bucket|total)$/;

/** Metrics of one process. */
export class Metrics {
  readonly #prometheus = new Registry();
  readonly #descriptions: MetricDescription[] = [];
  readonly #collectors: (() => void)[] = [];

  constructor() {
    collectDefaultMetrics({ register: this.#prometheus, prefix: "millrace_" });
    this.#watchEventLoop();
  }

  counter(options: MetricOptions): Counter {
    const metric = new PromCounter(this.#settings(options, "counter"));
    return {
      add: (value, labels) => {
        if (labels === undefined) metric.inc(value);
        else metric.inc(labels, value);
      },
    };
  }

  gauge(options: MetricOptions): Gauge {
    const metric = new PromGauge(this.#settings(options, "gauge"));
    return {
      set: (value, labels) => {
        if (labels === undefined) metric.set(value);
        else metric.set(labels, value);
      },
    };
  }

  histogram(options: MetricOptions & { readonly buckets: readonly number[] }): Histogram {
    const metric = new PromHistogram({
      ...this.#settings(options, "histogram"),
      buckets: [...options.buckets],
    });
    return {
      observe: (value, labels) => {
        if (labels === undefined) metric.observe(value);
        else metric.observe(labels, value);
      },
    };
  }

  /** Runs `collect` before every scrape, for gauges that are read rather than counted. */
  onCollect(collect: () => void): void {
    this.#collectors.push(collect);
  }

  /** Our own metrics, in order of name. */
  describe(): readonly MetricDescription[] {
    return this.#descriptions.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Text for a scraper: OpenMetrics where it accepts that. */
  async render(accept: string): Promise<{ readonly contentType: string; readonly body: string }> {
    for (const collect of this.#collectors) collect();
    const open = accept.includes("application/openmetrics-text");
    const contentType = open ? openMetricsContentType : prometheusContentType;
    const registry = this.#prometheus as Registry<
      typeof openMetricsContentType | typeof prometheusContentType
    >;
    registry.setContentType(contentType);
    return { contentType, body: await registry.metrics() };
  }

  #settings(options: MetricOptions, type: MetricDescription["type"]) {
    const { name, help, labels = [] } = options;
    assert(nameGrammar.test(name), `${name} is a metric name`);
    assert((type === "counter") === name.endsWith("_total"), `${name} ends in _total if it counts`);
    assert(type !== "histogram" || !histogramSuffix.test(name), `${name} has a suffix of its own`);
    this.#descriptions.push({ name, type, help, labels });
    return { name, help, labelNames: [...labels], registers: [this.#prometheus] };
  }

  #watchEventLoop(): void {
    const delay = monitorEventLoopDelay({ resolution: 10 });
    delay.enable();
    const gauge = this.gauge({
      name: "millrace_process_event_loop_delay_seconds",
      help: "Delay of the event loop since the last scrape, by quantile.",
      labels: ["quantile"],
    });
    this.onCollect(() => {
      for (const quantile of [50, 99, 100]) {
        const ms = quantile === 100 ? delay.max : delay.percentile(quantile);
        gauge.set(Math.max(0, ms / 1e9), { quantile: String(quantile / 100) });
      }
      delay.reset();
    });
  }
}

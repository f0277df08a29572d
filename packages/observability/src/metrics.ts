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

/** A value of a metric that is read at every scrape. */
export interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

/** A metric, for the reference. */
export interface MetricDescription {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly labels: readonly string[];
}

export interface MetricOptions {
  /**
   * `millrace_<service>_<what>_<unit>`, in seconds or bytes; no unit for what is only counted.
   * Counters end in `_total`.
   */
  readonly name: string;
  readonly help: string;
  /** Each with few values: never topics times partitions times clients. */
  readonly labels?: readonly string[];
}

/** Upper bounds of latency buckets, seconds. */
export const latencyBuckets = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
] as const;

const nameGrammar = /^millrace(_[a-z][a-z0-9]*)+$/;
/** What Prometheus appends to names itself. */
const reservedSuffix = /_(count|sum|bucket)$/;
/** Labels that Prometheus gives a meaning. */
const reservedLabels = ["le", "quantile"];

/**
 * The same page as OpenMetrics, where a counter is named without `_total` and only its samples have
 * it. prom-client can do that, but renames its counters for good: every later page in the text
 * format would have other names.
 */
const openMetricsOf = (page: string): string => {
  const lines = page.split("\n").filter((line) => line !== "");
  const named = lines.map((line) => line.replace(/^(# (?:HELP|TYPE) \w+)_total /, "$1 "));
  return `${named.join("\n")}\n# EOF\n`;
};

/** Metrics of one process. */
export class Metrics {
  readonly #prometheus = new Registry();
  readonly #descriptions: MetricDescription[] = [];
  readonly #collectors: (() => void)[] = [];

  constructor() {
    collectDefaultMetrics({ register: this.#prometheus, prefix: "millrace_" });
    // Sums of other gauges, under names that only counters may have.
    for (const { name, type } of this.#prometheus.getMetricsAsArray()) {
      if (String(type) !== "counter" && name.endsWith("_total")) {
        this.#prometheus.removeSingleMetric(name);
      }
    }
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

  /**
   * A counter or gauge that is read at every scrape: a series that `read` does not name any more is
   * gone. What is counted often is cheaper this way: as a number in an object.
   */
  collected(
    options: MetricOptions & { readonly type: "counter" | "gauge" },
    read: () => Iterable<Sample>,
  ): void {
    const settings = this.#settings(options, options.type);
    if (options.type === "counter") {
      const metric = new PromCounter(settings);
      this.onCollect(() => {
        metric.reset();
        for (const { labels, value } of read()) metric.inc(labels, value);
      });
      return;
    }
    const metric = new PromGauge(settings);
    this.onCollect(() => {
      metric.reset();
      for (const { labels, value } of read()) metric.set(labels, value);
    });
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
    const page = await this.#prometheus.metrics();
    return open
      ? { contentType: openMetricsContentType, body: openMetricsOf(page) }
      : { contentType: prometheusContentType, body: page };
  }

  #settings(options: MetricOptions, type: MetricDescription["type"]) {
    const { name, help, labels = [] } = options;
    assert(nameGrammar.test(name), `${name} is a metric name`);
    assert((type === "counter") === name.endsWith("_total"), `${name} ends in _total if it counts`);
    assert(!reservedSuffix.test(name), `${name} has a suffix of its own`);
    assert(help !== "", `${name} has a help text`);
    const reserved = labels.find((label) => reservedLabels.includes(label));
    assert(reserved === undefined, `${name} has labels of its own, not ${reserved}`);
    this.#descriptions.push({ name, type, help, labels });
    return { name, help, labelNames: [...labels], registers: [this.#prometheus] };
  }

  #watchEventLoop(): void {
    const delay = monitorEventLoopDelay({ resolution: 10 });
    delay.enable();
    const gauge = this.gauge({
      name: "millrace_process_event_loop_delay_seconds",
      help: "Delay of the event loop since the last scrape, by percentile; 100 is the longest.",
      labels: ["percentile"],
    });
    this.onCollect(() => {
      for (const percentile of [50, 99, 100]) {
        const ns = percentile === 100 ? delay.max : delay.percentile(percentile);
        gauge.set(Math.max(0, ns / 1e9), { percentile: String(percentile) });
      }
      delay.reset();
    });
  }
}

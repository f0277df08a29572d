/** Mutants of metrics, log lines and JSON documents, and of what counts for a topic. */
import type { Mutant } from "../mutant.ts";

const observability = "packages/observability/src/";
const broker = "services/broker/src/";
const observed = [`${observability}observability.test.ts`];
const linted = [`${observability}testing/promlint.test.ts`];
const metered = [`${broker}topic-meters.test.ts`];
const pages = [`${broker}process/metrics.test.ts`];
const documents = ["test/integration/documents.test.ts"];
const sessions = [`${broker}fetch/session.test.ts`];
const appenders = [`${broker}produce/appender.test.ts`];
const managers = [`${broker}partitions/replica-manager.test.ts`];

const nameMutants: readonly Mutant[] = [
  {
    name: "metrics-take-reserved-suffixes",
    breaks: "No metric ends in what Prometheus appends itself.",
    file: `${observability}metrics.ts`,
    replace: [["/_(count|sum|bucket)$/", "/_(sum|bucket)$/"]],
    tests: observed,
  },
  {
    name: "metrics-take-any-label",
    breaks: "No metric has a label that Prometheus gives a meaning.",
    file: `${observability}metrics.ts`,
    replace: [['["le", "quantile"]', '["le"]']],
    tests: observed,
  },
  {
    name: "metrics-without-help",
    breaks: "Every metric has a help text.",
    file: `${observability}metrics.ts`,
    replace: [['assert(help !== ""', "assert(help !== undefined"]],
    tests: observed,
  },
  {
    name: "metrics-keep-gauges-that-end-in-total",
    breaks: "Only counters end in _total, also those of the library.",
    file: `${observability}metrics.ts`,
    replace: [["        this.#prometheus.removeSingleMetric(name);\n", ""]],
    tests: observed,
  },
  {
    name: "open-metrics-with-total-in-the-name",
    breaks: "OpenMetrics names a counter without _total.",
    file: `${observability}metrics.ts`,
    replace: [["_total /", "_totals /"]],
    tests: observed,
  },
  {
    name: "open-metrics-without-an-end",
    breaks: "A page in OpenMetrics says that it is whole.",
    file: `${observability}metrics.ts`,
    replace: [["\\n# EOF\\n", "\\n"]],
    tests: observed,
  },
  {
    name: "collected-series-stay",
    breaks: "A series that nobody names any more is gone.",
    file: `${observability}metrics.ts`,
    replace: [
      [
        "        metric.reset();\n        for (const { labels, value } of read()) metric.inc(",
        "        for (const { labels, value } of read()) metric.inc(",
      ],
    ],
    tests: observed,
  },
  {
    name: "log-fields-in-camel-case",
    breaks: "Keys of log lines are snake_case.",
    file: `${observability}logger.ts`,
    replace: [["plain[snakeCase(name)]", "plain[name]"]],
    tests: observed,
  },
  {
    name: "log-numbers-unrounded",
    breaks: "Measured numbers in log lines are rounded.",
    file: `${observability}logger.ts`,
    replace: [["Math.round(value * 1000) / 1000", "value"]],
    tests: observed,
  },
  {
    name: "promlint-misses-multiples",
    breaks: "The linter knows units with a prefix.",
    file: `${observability}testing/promlint.ts`,
    replace: [['word.replace(multiples, "")', "word"]],
    tests: linted,
  },
];

const documentMutants: readonly Mutant[] = [
  {
    name: "configz-in-kebab-case",
    breaks: "Keys of /configz are snake_case.",
    file: "packages/server/src/node/server.ts",
    replace: [['key.replaceAll("-", "_")', "key"]],
    tests: documents,
  },
  {
    name: "topic-list-in-camel-case",
    breaks: "The command line prints snake_case.",
    file: "packages/cli/src/topic.ts",
    replace: [["          topic_id: hexOf(topicId),", "          topicId: hexOf(topicId),"]],
    tests: documents,
  },
  {
    name: "no-line-when-ready",
    breaks: "The log says when a server is ready, and where.",
    file: "packages/server/src/node/run.ts",
    replace: [
      ['    logger.info({ client, internal, health, http, start_ms: startMs }, "ready");\n', ""],
    ],
    tests: documents,
  },
  {
    name: "build-info-never-told",
    breaks: "Metrics say which build runs.",
    file: "packages/server/src/node/server.ts",
    replace: [["(known) => metrics.onBuild(known)", "() => {}"]],
    tests: documents,
  },
];

const meterMutants: readonly Mutant[] = [
  {
    name: "topics-beyond-the-bound-have-labels",
    breaks: "At most so many topics have a label.",
    file: `${broker}topic-meters.ts`,
    replace: [["this.ranked.size >= this.#max", "this.ranked.size > this.#max"]],
    tests: metered,
  },
  {
    name: "gone-topics-keep-their-labels",
    breaks: "A topic that is gone frees its label for the next one.",
    file: `${broker}topic-meters.ts`,
    replace: [["    this.#topicRanks.delete(topic);\n", ""]],
    tests: metered,
  },
  {
    name: "freed-labels-stay-free",
    breaks: "The next topic in order gets the label of one that is gone.",
    file: `${broker}topic-meters.ts`,
    replace: [["    this.#waiting.delete(next);\n    this.#rank(next);\n", ""]],
    tests: metered,
  },
  {
    name: "label-gone-with-the-first-partition",
    breaks: "A topic keeps its label until its last partition is gone.",
    file: `${broker}topic-meters.ts`,
    replace: [["    if (topic.partitions.size > 0) return;\n", ""]],
    tests: metered,
  },
  {
    name: "topic-named-other-has-a-label",
    breaks: "A topic named other adds no second series of that name.",
    file: `${broker}topic-meters.ts`,
    replace: [["    if (name !== otherLabel) this.#topicRanks", "    this.#topicRanks"]],
    tests: metered,
  },
  {
    name: "partitions-closed-twice",
    breaks: "A replica of an earlier life that is closed again takes nothing from the next one.",
    file: `${broker}topic-meters.ts`,
    replace: [["    if (topic.partitions.get(index) !== partition) return;\n", ""]],
    tests: metered,
  },
  {
    name: "sizes-add-up",
    breaks: "Sizes are those of the logs, however often they are read.",
    file: `${broker}topic-meters.ts`,
    replace: [["    for (const { totals } of this.topics()) totals.sizeBytes = 0;\n", ""]],
    tests: metered,
  },
  {
    name: "sizes-never-read",
    breaks: "The sizes of logs are on the page.",
    file: `${broker}process/topic-metrics.ts`,
    replace: [["    if (logs !== undefined) meters.measure(logs);\n", ""]],
    tests: pages,
  },
  {
    name: "every-topic-has-a-label-by-default",
    breaks: "The page stays short with ten thousand topics.",
    file: `${broker}process/metrics.ts`,
    replace: [['topicsMax: config["metrics-topics-max"]', "topicsMax: 10_000"]],
    tests: pages,
  },
];

const countingMutants: readonly Mutant[] = [
  {
    name: "appends-count-for-no-topic",
    breaks: "What is appended counts for its topic.",
    file: `${broker}produce/appender.ts`,
    replace: [["    replica.meter.onAppend(info.recordCount, body.length);\n", ""]],
    tests: appenders,
  },
  {
    name: "duplicates-count-as-appended",
    breaks: "A retry of what is in the log does not count as appended.",
    file: `${broker}produce/appender.ts`,
    replace: [["if (append.isNew) this.#count", "this.#count"]],
    tests: appenders,
  },
  {
    name: "refusals-count-for-no-topic",
    breaks: "A request that fails counts as an error of its topic.",
    file: `${broker}produce/pending-append.ts`,
    replace: [["    if (error !== undefined) this.meter?.onError();\n", ""]],
    tests: appenders,
  },
  {
    name: "fetches-count-for-no-topic",
    breaks: "What is fetched counts for its topic.",
    file: `${broker}fetch/session.ts`,
    replace: [["    replica.meter.onFetch(records, result.bytes);\n", ""]],
    tests: sessions,
  },
  {
    name: "failed-cursors-count-for-no-topic",
    breaks: "A cursor that fails counts as an error of its topic.",
    file: `${broker}fetch/session.ts`,
    replace: [["    replica?.meter.onError();\n", ""]],
    tests: sessions,
  },
  {
    name: "single-fetches-count-for-no-topic",
    breaks: "FetchOnce counts for its topic.",
    file: `${broker}fetch-once.ts`,
    replace: [["    replica.meter.onFetch(read, result.bytes);\n", ""]],
    tests: sessions,
  },
  {
    name: "failed-single-fetches-count-for-no-topic",
    breaks: "A FetchOnce that fails counts as an error of its topic.",
    file: `${broker}fetch-once.ts`,
    replace: [["    replica.meter.onError();\n", ""]],
    tests: sessions,
  },
  {
    name: "meters-of-replicas-stay-open",
    breaks: "A replica that is closed lets go of its series.",
    file: `${broker}partitions/replica.ts`,
    replace: [["    this.meter.close();\n", ""]],
    tests: managers,
  },
  {
    name: "labels-by-name-at-a-start",
    breaks: "At a start the oldest topics have labels.",
    file: `${broker}partitions/replica-manager.ts`,
    replace: [[".sort((a, b) => a.createdAtMs - b.createdAtMs)", ""]],
    tests: managers,
  },
];

export const observabilityMutants: readonly Mutant[] = [
  ...nameMutants,
  ...documentMutants,
  ...meterMutants,
  ...countingMutants,
];

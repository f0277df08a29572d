/**
 * Topic configs. A key has the name that Kafka gives it where the meaning is the same. Keys of
 * Kafka that Millrace lacks are refused by name, never ignored.
 */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { parseSetting, type Schema, unknownKey, type Values } from "./schema.ts";

const never = Number.MAX_SAFE_INTEGER;

/** Largest batch body that a request can carry, bytes; the bound of `max.message.bytes`. */
export const messageBytesMax = 8 * 1024 * 1024;

/** Every topic config. All are dynamic. */
export const topicSchema = {
  "cleanup.policy": {
    type: "choice",
    choices: ["delete", "compact", "compact,delete", "delete,compact", ""],
    default: "delete",
    dynamic: true,
    description:
      "What happens to old segments: delete removes them by retention; compact keeps the latest " +
      "record of every key; empty keeps them for ever (records below the log start offset go in " +
      "any case).",
  },
  "delete.retention.ms": {
    type: "integer",
    unit: "milliseconds",
    min: 0,
    max: never,
    default: 86_400_000,
    dynamic: true,
    description:
      "How long compaction keeps a record without a value, which says that its key is deleted, " +
      "after the first cleaning that found it the latest of its key.",
  },
  "file.delete.delay.ms": {
    type: "integer",
    unit: "milliseconds",
    min: 0,
    max: never,
    default: 60_000,
    dynamic: true,
    description: "Time between a file leaving the log and its removal from the disk.",
  },
  "flush.ms": {
    type: "integer",
    unit: "milliseconds",
    min: 1,
    max: never,
    default: 1_000,
    dynamic: true,
    description: "Interval of fsyncs with flush.policy interval.",
  },
  "flush.policy": {
    type: "choice",
    choices: ["commit", "interval", "none"],
    default: "commit",
    dynamic: true,
    description:
      "What an acknowledgement waits for: commit, an fsync; interval and none, the page cache. " +
      "Records acknowledged under interval and none can be lost with the machine.",
  },
  "index.interval.bytes": {
    type: "integer",
    unit: "bytes",
    min: 1,
    max: 0x7fff_ffff,
    default: 4096,
    dynamic: true,
    description: "Log bytes per entry of the offset and time indexes.",
  },
  "max.compaction.lag.ms": {
    type: "integer",
    unit: "milliseconds",
    min: 1,
    max: never,
    default: never,
    dynamic: true,
    description:
      "A record is compacted at the latest this long after its append: its segment is closed in " +
      "time, and cleaned whatever min.cleanable.dirty.ratio says.",
  },
  "max.message.bytes": {
    type: "integer",
    unit: "bytes",
    min: 64,
    max: messageBytesMax,
    default: 1_048_588,
    dynamic: true,
    description: "Largest batch body, as sent (compressed).",
  },
  "message.timestamp.after.max.ms": {
    type: "integer",
    unit: "milliseconds",
    min: 0,
    max: never,
    default: 3_600_000,
    dynamic: true,
    description: "How far ahead of the broker's clock a record timestamp may be.",
  },
  "message.timestamp.before.max.ms": {
    type: "integer",
    unit: "milliseconds",
    min: 0,
    max: never,
    default: never,
    dynamic: true,
    description: "How far behind the broker's clock a record timestamp may be.",
  },
  "min.cleanable.dirty.ratio": {
    type: "decimal",
    min: 0,
    max: 1,
    default: 0.5,
    dynamic: true,
    description:
      "Compaction cleans a log once a larger part of its bytes than this is not compacted yet.",
  },
  "min.compaction.lag.ms": {
    type: "integer",
    unit: "milliseconds",
    min: 0,
    max: never,
    default: 0,
    dynamic: true,
    description: "Compaction leaves segments alone whose newest record is younger.",
  },
  "min.insync.replicas": {
    type: "integer",
    unit: "count",
    min: 1,
    max: 32,
    default: 1,
    dynamic: true,
    description:
      "Replicas that must have a record before it is acknowledged with acks all; the effective " +
      "value is never more than the replication factor.",
  },
  "retention.bytes": {
    type: "integer",
    unit: "bytes",
    min: -1,
    max: never,
    default: -1,
    dynamic: true,
    description: "Oldest segments go while the rest of the partition is this large. -1: no limit.",
  },
  "retention.ms": {
    type: "integer",
    unit: "milliseconds",
    min: -1,
    max: never,
    default: 604_800_000,
    dynamic: true,
    description: "Segments go once their largest record timestamp is older. -1: no limit.",
  },
  "segment.bytes": {
    type: "integer",
    unit: "bytes",
    min: 1024,
    max: 0x7fff_ffff,
    default: 1_073_741_824,
    dynamic: true,
    description:
      "A segment is closed before it would exceed this, and not before it has 1/128 of a journal " +
      "file (512 KiB, by default).",
  },
  "segment.ms": {
    type: "integer",
    unit: "milliseconds",
    min: 1,
    max: never,
    default: 604_800_000,
    dynamic: true,
    description:
      "A segment is closed this long after its first append, and not before 1/128 of the time " +
      "between checkpoints (470 ms, by default).",
  },
} as const satisfies Schema;

export type TopicConfigKey = keyof typeof topicSchema;
export type TopicConfig = Values<typeof topicSchema>;

/** Topic configs of Kafka 4.x that Millrace lacks, with what to use instead. */
const kafkaOnly: ReadonlyMap<string, string> = new Map([
  ["compression.gzip.level", "compression is the producer's choice"],
  ["compression.lz4.level", "compression is the producer's choice"],
  ["compression.type", "batches are stored as the producer compressed them"],
  ["compression.zstd.level", "compression is the producer's choice"],
  ["flush.messages", "use flush.policy=commit, which fsyncs before every acknowledgement"],
  ["follower.replication.throttled.replicas", "throttles do not exist yet"],
  ["internal.segment.bytes", "use segment.bytes"],
  ["leader.replication.throttled.replicas", "throttles do not exist yet"],
  ["local.retention.bytes", "tiered storage does not exist yet"],
  ["local.retention.ms", "tiered storage does not exist yet"],
  ["message.downconversion.enable", "there is one batch format"],
  ["message.format.version", "there is one batch format"],
  [
    "message.timestamp.difference.max.ms",
    "use message.timestamp.before.max.ms and message.timestamp.after.max.ms",
  ],
  ["message.timestamp.type", "every record has its own timestamp and its batch's append time"],
  ["preallocate", "the commit journal is preallocated, segments need not be"],
  ["remote.log.copy.disable", "tiered storage does not exist yet"],
  ["remote.log.delete.on.disable", "tiered storage does not exist yet"],
  ["remote.storage.enable", "tiered storage does not exist yet"],
  ["segment.index.bytes", "indexes grow as they need to"],
  ["segment.jitter.ms", "the commit journal makes rolling cheap"],
  ["unclean.leader.election.enable", "an unclean election is an explicit command, never a setting"],
]);

/** Throws INVALID_CONFIG for an unknown key. */
export const checkTopicConfigKey = (key: string): void => {
  if (Object.hasOwn(topicSchema, key)) return;
  const reason = kafkaOnly.get(key);
  if (reason === undefined) throw unknownKey(key, "topic config", topicSchema);
  throw new MillraceError(
    ErrorCode.INVALID_CONFIG,
    `${key}: a Kafka setting that Millrace does not have: ${reason}`,
    { facts: { key } },
  );
};

/** Checks and parses one topic config. Throws INVALID_CONFIG. */
export const parseTopicConfig = (key: string, raw: string): string | number | boolean => {
  checkTopicConfigKey(key);
  return parseSetting(key, topicSchema[key as TopicConfigKey], raw);
};

/** Checks configs as set on a topic. Throws INVALID_CONFIG at the first bad one. */
export const checkTopicConfigs = (configs: Readonly<Record<string, string>>): void => {
  for (const [key, raw] of Object.entries(configs)) parseTopicConfig(key, raw);
};

/**
 * Effective configs: those set, over defaults. A number that an older version allowed counts as the
 * nearest one that is allowed now.
 */
export const topicConfigOf = (configs: Readonly<Record<string, string>>): TopicConfig => {
  const values: Record<string, string | number | boolean> = {};
  for (const [key, setting] of Object.entries(topicSchema)) {
    const raw = Object.hasOwn(configs, key) ? configs[key] : undefined;
    if (raw === undefined) values[key] = setting.default;
    else if (setting.type !== "integer") values[key] = parseTopicConfig(key, raw);
    else {
      const { min, max } = setting;
      const wide = { ...setting, min: -never, max: never };
      values[key] = Math.min(max, Math.max(min, Number(parseSetting(key, wide, raw))));
    }
  }
  return values as unknown as TopicConfig;
};

/** Topic name grammar: 1 to 249 of [a-zA-Z0-9._-], not `.` or `..`. Throws INVALID_TOPIC. */
export const checkTopicName = (name: string): void => {
  const shown = name.length > 80 ? `${name.slice(0, 80)}…` : name;
  if (!/^[a-zA-Z0-9._-]{1,249}$/.test(name) || name === "." || name === "..") {
    throw new MillraceError(
      ErrorCode.INVALID_TOPIC,
      `topic name ${JSON.stringify(shown)} is not allowed: use 1 to 249 of a-z, A-Z, 0-9, ".", "_" and "-"`,
    );
  }
};

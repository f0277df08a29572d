/**
 * docs/guides/limits.md and the code say the same: every limit is there, with its default, and no
 * other.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { limits as broker, logConfigOf } from "@millrace/broker";
import { brokerSchema } from "@millrace/broker/node";
import { checkTopicName, type Setting, topicConfigOf, topicSchema } from "@millrace/config";
import {
  limits as admin,
  heartbeatLimits,
  maintenanceLimits,
  producerIdLimits,
  rebalanceLimits,
  replicaLimits,
} from "@millrace/controller";
import { controllerSchema } from "@millrace/controller/node";
import { errorCodeByName } from "@millrace/errors";
import {
  groupLimits,
  patternCharactersMax,
  patternInstructionsMax,
  patternWeightMax,
} from "@millrace/group-coordinator";
import { groupCoordinatorSchema } from "@millrace/group-coordinator/node";
import { defaultManagerConfig } from "@millrace/log";
import { httpLimits, logQueueBytesMax } from "@millrace/observability";
import { BODY_BYTES_MAX, HEADER_NAME_BYTES_MAX } from "@millrace/record";
import { errorTextBytesMax } from "@millrace/rpc";
import { admissionDefaults, limitNames, transportLimits } from "@millrace/rpc/grpc";
import { holderWatchLimits } from "@millrace/server";
import { admissionOf, probeLimits } from "@millrace/server/node";
import { serverMetrics, standaloneSchema } from "@millrace/standalone";
import { reserveFileBytesMax } from "../../packages/log/src/files/disk-space.ts";
import { patienceMs } from "../../packages/log/src/files/patient-disk.ts";
import { roundPayloadBytesMax } from "../../packages/log/src/journal/commit-loop.ts";
import { stopPatienceMs } from "../../packages/log/src/manager.ts";
import {
  pendingProducersMax,
  stepsPerAppend,
} from "../../packages/log/src/partition/producer-budget.ts";
import {
  batchesKept,
  expiredPerCall,
  producersMax,
} from "../../packages/log/src/partition/producer-table.ts";
import { inflatedBytesMax } from "../../packages/log/src/partition/reader.ts";
import { indexIntervalBytesMax } from "../../packages/log/src/partition/types.ts";
import { checkpointEntries } from "../../packages/log/src/recovery/checkpoint.ts";
import { historyBytesMax } from "../../packages/metadata/src/embedded.ts";
import {
  callTimeoutMs,
  operationsMax,
  requestBytesMax,
  rootBytesMax,
} from "../../packages/metadata/src/limits.ts";
import { inflationsMax } from "../../packages/record/src/node/compressor.ts";
import { ELEMENTS_MAX, SUBSCRIPTION_ELEMENTS_MAX } from "../../packages/record/src/wire/common.ts";
import { readAheadMessages, writeQueueBytesMax } from "../../packages/rpc/src/grpc/duplex.ts";
import { readQueueBytesMax } from "../../packages/rpc/src/grpc/http2/message-stream.ts";
import {
  abandonedMax,
  evictionsMax,
  overrunsMax,
  pressedWindowBytes,
} from "../../packages/rpc/src/grpc/server/admission/admission.ts";
import {
  beginBytes,
  endTimeoutMs,
} from "../../packages/rpc/src/grpc/server/admission/admitted-stream.ts";
import { startedPerTurn } from "../../packages/rpc/src/grpc/server/connection-listener.ts";
import {
  connectionWindowBytes,
  firstConnectionWindowBytes,
  resetBurst,
  resetRate,
  streamWindowBytes,
} from "../../packages/rpc/src/grpc/windows.ts";
import { depthMax, elementsMax } from "../../packages/rpc/src/prescan.ts";
import { addedPerTurn } from "../../services/broker/src/fetch/session.ts";
import { production, read } from "./repository.ts";

const { unwrittenBytesMax, writeLingerMs, syncStepBytes } = defaultManagerConfig;
const path = fileURLToPath(new URL("../../docs/guides/limits.md", import.meta.url));
const page = readFileSync(path, "utf8");

interface Row {
  readonly value: string;
  readonly setting: string;
  readonly effect: string;
}

/** Rows of all tables by the name in their first cell. */
const rows = new Map<string, Row>();
for (const line of page.split("\n")) {
  const cells = line.split("|").map((cell) => cell.trim());
  const name = /^`([^`]+)`$/.exec(cells[1] ?? "")?.[1];
  if (name === undefined) continue;
  assert.equal(cells.length, 9, `${name}: seven cells, none with a bar in it`);
  assert.ok(!rows.has(name), `${name} has one row`);
  const [, , , value = "", setting = "", effect = ""] = cells;
  rows.set(name, { value, setting, effect });
}

const units: Readonly<Record<string, number>> = {
  ...{ "": 1, bytes: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 },
  ...{ ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 },
};

/** What a cell like `48 MiB`, `10 min`, `16,384` says, in bytes, milliseconds or pieces. */
const amountOf = (cell: string): number => {
  if (cell === "none") return Number.POSITIVE_INFINITY;
  const [, digits = "", unit = ""] = /^([\d,]+) ?(\w*)$/.exec(cell) ?? [];
  return Number(digits.replaceAll(",", "") || "NaN") * (units[unit] ?? Number.NaN);
};

/** -1, and as much as a number can hold, stand for no limit. */
const endless = (value: number): number =>
  value === -1 || value === Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : value;

const prefixed = (prefix: string, limits: object): [string, number][] =>
  Object.entries(limits).map(([key, value]) => [`${prefix}${key}`, value]);

const integers = (schema: Readonly<Record<string, Setting>>): [string, number][] =>
  Object.entries(schema).flatMap(([key, setting]): [string, number][] =>
    setting.type === "integer" && setting.default !== undefined ? [[key, setting.default]] : [],
  );

const longestName = ((): number => {
  let length = 1;
  const allowed = (): boolean => {
    try {
      checkTopicName("x".repeat(length + 1));
      return true;
    } catch {
      return false;
    }
  };
  while (allowed()) length += 1;
  return length;
})();

const mib = 1024 * 1024;
const { sessionMemoryMib, ...transport } = transportLimits;

/** Every limit but settings that have no name in the code beside their own. */
const fixed = new Map<string, number>([
  ...prefixed("", admissionDefaults),
  ...prefixed("", transport),
  ...prefixed("broker.", broker),
  ...prefixed("group.", groupLimits),
  ...prefixed("group.", { patternCharactersMax, patternInstructionsMax, patternWeightMax }),
  ...prefixed("admin.", admin),
  ...prefixed("replica.", replicaLimits),
  ...prefixed("rebalance.", rebalanceLimits),
  ...prefixed("producerIds.", producerIdLimits),
  ...prefixed("heartbeat.", heartbeatLimits),
  ...prefixed("maintenance.", maintenanceLimits),
  ...prefixed("standby.", holderWatchLimits),
  ...prefixed("http.", httpLimits),
  ...prefixed("probe.", probeLimits),
  ...prefixed("", { connectionWindowBytes, firstConnectionWindowBytes, streamWindowBytes }),
  ...prefixed("", { pressedWindowBytes, endTimeoutMs, beginBytes, readQueueBytesMax }),
  ...prefixed("", { readAheadMessages, writeQueueBytesMax, elementsMax, depthMax }),
  ...prefixed("", { ELEMENTS_MAX, SUBSCRIPTION_ELEMENTS_MAX }),
  ...prefixed("", { errorTextBytesMax, inflatedBytesMax, BODY_BYTES_MAX, HEADER_NAME_BYTES_MAX }),
  ...prefixed("", {
    abandonedMax,
    evictionsMax,
    overrunsMax,
    resetBurst,
    resetRate,
    startedPerTurn,
    addedPerTurn,
  }),
  ...prefixed("", {
    inflationsMax,
    batchesKept,
    operationsMax,
    requestBytesMax,
    callTimeoutMs,
    historyBytesMax,
    rootBytesMax,
    roundPayloadBytesMax,
  }),
  ...prefixed("", { reserveFileBytesMax, topicNameMax: longestName }),
  ...prefixed("", { unwrittenBytesMax, writeLingerMs, syncStepBytes }),
  ...prefixed("", { patienceMs, stopPatienceMs, checkpointEntries }),
  ...prefixed("", {
    producersMax,
    pendingProducersMax,
    expiredPerCall,
    stepsPerAppend,
    indexIntervalBytesMax,
  }),
  ["logQueueBytesMax", logQueueBytesMax],
  ["sessionMemoryMib", sessionMemoryMib * mib],
  ["producerExpiryMs", logConfigOf(topicConfigOf({})).producerExpiryMs],
]);

/** Of all processes; what they share they have from one place. */
const serverSettings = {
  ...{ ...standaloneSchema, ...controllerSchema, ...brokerSchema },
  ...groupCoordinatorSchema,
};
/** Settings that bound nothing. */
const notBounds = new Set(["default-replication-factor"]);

/** Rows about something that has no number. */
const numberless = new Set(["framing", "encoding", "protocol"]);
const topicDefaults = new Map(integers(topicSchema));
/**
 * Topic configs that are times and sizes, and bound nothing that a client or an operator could run
 * into.
 */
const notLimits = new Set([
  ...["file.delete.delay.ms", "flush.ms", "index.interval.bytes", "min.insync.replicas"],
]);

test("every limit of the code is in limits.md, with its default", () => {
  for (const [name, value] of fixed) {
    const row = rows.get(name);
    assert.ok(row !== undefined, `${name} is missing`);
    assert.equal(amountOf(row.value), value, `${name} is ${value}, not ${row.value}`);
  }
});

test("every byte, count and time setting of a server is in limits.md, with its default", () => {
  const bySetting = new Map([...rows.values()].map((row) => [row.setting, row]));
  for (const [key, value] of integers(serverSettings)) {
    if (notBounds.has(key)) continue;
    const row = bySetting.get(`\`--${key}\``);
    assert.ok(row !== undefined, `--${key} is missing`);
    assert.equal(amountOf(row.value), value, `--${key} is ${value}, not ${row.value}`);
  }
  for (const [key, value] of topicDefaults) {
    if (notLimits.has(key)) continue;
    const row = bySetting.get(`\`topic:${key}\``);
    assert.ok(row !== undefined, `topic:${key} is missing`);
    assert.equal(amountOf(row.value), endless(value), `topic:${key}`);
  }
});

test("a setting is named beside the limit that it sets", () => {
  const marked = Object.fromEntries(
    Object.entries(standaloneSchema).map(([key, { default: value }]) => [
      key,
      typeof value === "number" ? key : value,
    ]),
  );
  const keys: readonly [string, unknown][] = Object.entries(admissionOf(marked as never));
  for (const [name, key] of keys) assert.equal(rows.get(name)?.setting, `\`--${key}\``, name);
  const settable = new Set([...keys.map(([name]) => name), "broker.replicaLagMaxMs"]);
  for (const name of fixed.keys()) {
    if (!settable.has(name)) assert.equal(rows.get(name)?.setting, "fixed", name);
  }
});

test("limits.md has no limit that the code has not", () => {
  for (const [name, { setting }] of rows) {
    const own = `\`${name}\`` === setting;
    const known = fixed.has(name) || numberless.has(name) || own;
    assert.ok(known, `${name} is in limits.md and not in the code`);
    if (!own) continue;
    const topic = name.startsWith("topic:") && topicDefaults.has(name.slice("topic:".length));
    assert.ok(topic || Object.hasOwn(serverSettings, name.slice(2)), name);
  }
});

test("every label of refusals, every metric and every error code in limits.md is a real one", () => {
  const labels = new Set([...page.matchAll(/limit="([a-z_]+)"/g)].map((match) => match[1]));
  labels.delete("x");
  assert.deepEqual([...labels].sort(), [...limitNames].sort());
  const metrics = new Set(
    serverMetrics()
      .registry.describe()
      .map(({ name }) => name),
  );
  for (const [name] of page.matchAll(/millrace_[a-z]+_[a-z_]+[a-z]/g)) {
    assert.ok(metrics.has(name), `there is no metric ${name}`);
  }
  const others = new Set(["MILLRACE", "GOAWAY", "SETTINGS", "ENHANCE_YOUR_CALM", "REFUSED_STREAM"]);
  for (const name of ["RESOURCE_EXHAUSTED", "MAX_CONCURRENT_STREAMS"]) others.add(name);
  for (const [, name = ""] of page.matchAll(/\b([A-Z]{3,}(?:_[A-Z]+)+)\b/g)) {
    const known = errorCodeByName(name) !== undefined || others.has(name) || fixed.has(name);
    assert.ok(known, `there is no error ${name}`);
  }
});

test("every log line that limits.md quotes is one that the code writes", () => {
  const code = production.map(read).join("\n");
  for (const [, text = ""] of page.matchAll(/\blog "([^"]+)"/g)) {
    assert.ok(code.includes(`"${text}`), `nothing logs ${text}`);
  }
});

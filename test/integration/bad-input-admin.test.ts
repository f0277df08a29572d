/**
 * Bad orders to Admin: names, counts, configs. A clear error each, and nothing is made or changed.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { topicSchema } from "@millrace/config";
import { ErrorCode } from "@millrace/errors";
import {
  AdminService,
  AlterConfigsRequestSchema,
  CreatePartitionsRequestSchema,
  CreateTopicRequestSchema,
  DeleteTopicRequestSchema,
  DescribeConfigsRequestSchema,
  DescribeTopicsRequestSchema,
  ListTopicsRequestSchema,
} from "@millrace/proto/controller";
import { methodOf } from "@millrace/rpc";
import { badInputSite, checkClear, field, framed, isClear, rawCall } from "./bad-input.ts";

const site = badInputSite({ "t-0": 10n, "t-1": 0n });
const { method } = AdminService;
const createTopic = methodOf(method.createTopic);
const deleteTopic = methodOf(method.deleteTopic);
const createPartitions = methodOf(method.createPartitions);
const alterConfigs = methodOf(method.alterConfigs);
const describeConfigs = methodOf(method.describeConfigs);
const describeTopics = methodOf(method.describeTopics);
const listTopics = methodOf(method.listTopics);
const { INVALID_CONFIG, INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR } = ErrorCode;
const { INVALID_REQUEST, INVALID_TOPIC, UNKNOWN_TOPIC_OR_PARTITION } = ErrorCode;

const names: readonly string[] = [
  ...["", ".", "..", "/", "a/b", "../t", "..\\t", "../../etc/passwd", "a b", " ", "t\u0000", "\n"],
  ...["\u001b[2J", "a\u007f", "x".repeat(250), "x".repeat(100_000), "тема", "话题", "موضوع", "ａ"],
  ...["😀".repeat(100), "e\u0301", "\u202et", "%2e%2e", "a:b", "a#0", "a*", "t~", "\ufeffa"],
];

test("names that no topic may have are INVALID_TOPIC, and unknown to every other call", async () => {
  const { channel } = site;
  for (const name of names) {
    const made = channel.unary(createTopic, create(CreateTopicRequestSchema, { name }));
    await assert.rejects(made, isClear(INVALID_TOPIC, /use 1 to 249 of/));
    const unknown = isClear(UNKNOWN_TOPIC_OR_PARTITION, /create it, or check the name/);
    const calls = [
      channel.unary(deleteTopic, create(DeleteTopicRequestSchema, { name })),
      channel.unary(
        createPartitions,
        create(CreatePartitionsRequestSchema, { name, partitionCount: 5 }),
      ),
      channel.unary(alterConfigs, create(AlterConfigsRequestSchema, { topic: name })),
      channel.unary(describeConfigs, create(DescribeConfigsRequestSchema, { topic: name })),
      channel.unary(describeTopics, create(DescribeTopicsRequestSchema, { names: [name] })),
    ];
    await Promise.all(calls.map((call) => assert.rejects(call, unknown)));
  }
});

test("names of a letter, of 249, and of dots and dashes are allowed, and checked only", async () => {
  for (const name of [
    "a",
    "x".repeat(249),
    "...",
    "-",
    "_",
    "A.b-c_9",
    "constructor",
    "__proto__",
  ]) {
    const request = create(CreateTopicRequestSchema, { name, validateOnly: true });
    assert.equal((await site.channel.unary(createTopic, request)).partitionCount, 1);
  }
});

test("a name that is no UTF-8 is INVALID_REQUEST", async () => {
  const bytes = framed(field(1, Buffer.from([0x61, 0xc3])));
  const { error } = await rawCall(site, createTopic.path, bytes);
  checkClear(error, INVALID_REQUEST, /\.proto/);
});

test("counts out of range are refused", async () => {
  const counts: readonly (readonly [object, ErrorCode, RegExp])[] = [
    [{ partitionCount: 10_001 }, INVALID_PARTITIONS, /use 1 to 10000/],
    [{ partitionCount: 2 ** 31 }, INVALID_PARTITIONS, /use 1 to 10000/],
    [{ partitionCount: 2 ** 32 - 1 }, INVALID_PARTITIONS, /use 1 to 10000/],
    [{ replicationFactor: 2 }, INVALID_REPLICATION_FACTOR, /with 1 broker: use 1$/],
    [{ replicationFactor: 2 ** 32 - 1 }, INVALID_REPLICATION_FACTOR, /with 1 broker: use 1$/],
  ];
  for (const [fields, code, text] of counts) {
    const request = create(CreateTopicRequestSchema, { name: "new", ...fields });
    await assert.rejects(site.channel.unary(createTopic, request), isClear(code, text));
  }
  for (const partitionCount of [0, 1, 2, 10_001, 2 ** 32 - 1]) {
    const request = create(CreatePartitionsRequestSchema, { name: "t", partitionCount });
    const refused = isClear(INVALID_PARTITIONS, /use 1 to 10000|only grows/);
    await assert.rejects(site.channel.unary(createPartitions, request), refused);
  }
});

const long = "x".repeat(200_000);
const configs: readonly (readonly [string, string, RegExp])[] = [
  ["retention.ms", "", /use -1 or more/],
  ["retention.ms", "-2", /use -1 or more/],
  ["retention.ms", "9007199254740992", /use -1 or more/],
  ["retention.ms", "9".repeat(400), /use -1 or more/],
  ["retention.ms", "1e9", /use -1 or more/],
  ["retention.ms", "0x10", /use -1 or more/],
  ["retention.ms", "Infinity", /use -1 or more/],
  ["retention.ms", "٣", /use -1 or more/],
  ["retention.bytes", long, /use -1 or more/],
  ["segment.bytes", "2147483648", /use 1 KiB to 2,147,483,647 bytes/],
  ["segment.bytes", "1TiB", /use 1 KiB to/],
  ["max.message.bytes", "63", /use 64 bytes to 8 MiB/],
  ["max.message.bytes", "16777217", /use 64 bytes to 8 MiB/],
  ["min.insync.replicas", "0", /use 1 to 32/],
  ["cleanup.policy", "compacted", /use delete, compact,/],
  ["min.cleanable.dirty.ratio", "1.1", /use 0 to 1/],
  ["flush.policy", "😀".repeat(1001), /use commit, interval, none/],
  ["flush.policy", "Commit", /use commit/],
  ["", "1", /unknown key/],
  ["retention.mss", "1", /did you mean retention\.ms/],
  ["Retention.ms", "1", /did you mean retention\.ms/],
  ["тема", "1", /unknown key/],
  ["retention.ms\u0000", "1", /unknown key/],
  ["constructor", "1", /unknown key/],
  ["__proto__", "1", /unknown key/],
  [long, "1", /unknown key/],
  ["😀".repeat(999), long, /unknown key/],
  ["compression.type", "gzip", /as the producer compressed them/],
];

test("configs that are unknown, wrong or huge are INVALID_CONFIG, on create and on alter", async () => {
  for (const [key, value, text] of configs) {
    const set = Object.fromEntries([[key, value]]);
    // By hand: a map key `__proto__` gets lost in objects.
    const entry = Buffer.concat([field(1, key), field(2, value)]);
    const made = await rawCall(
      site,
      createTopic.path,
      framed(Buffer.concat([field(1, "new"), field(4, entry)])),
    );
    checkClear(made.error, INVALID_CONFIG, text);
    if (key === "__proto__") continue;
    const altered = create(AlterConfigsRequestSchema, { topic: "t", set });
    const startMs = performance.now();
    await assert.rejects(site.channel.unary(alterConfigs, altered), isClear(INVALID_CONFIG, text));
    assert.ok(performance.now() - startMs < 500, "a long key costs no time");
  }
  for (const key of ["none", long]) {
    const request = create(AlterConfigsRequestSchema, { topic: "t", remove: [key] });
    await assert.rejects(site.channel.unary(alterConfigs, request), isClear(INVALID_CONFIG));
  }
  const both = create(AlterConfigsRequestSchema, {
    ...{ topic: "t", set: { "retention.ms": "5" }, remove: ["retention.ms"] },
  });
  await assert.rejects(site.channel.unary(alterConfigs, both), isClear(INVALID_REQUEST));
  const now = await site.channel.unary(
    describeConfigs,
    create(DescribeConfigsRequestSchema, { topic: "t" }),
  );
  assert.equal(now.configs.length, Object.keys(topicSchema).length);
  const set = now.configs.filter(({ source }) => source === 2).map(({ key }) => key);
  assert.deepEqual(set, ["max.message.bytes"]);
});

test("the largest values of every config are taken", async () => {
  for (const [key, setting] of Object.entries(topicSchema)) {
    if (setting.type !== "integer") continue;
    for (const value of [setting.min, setting.max]) {
      const set = { [key]: String(value) };
      const request = create(AlterConfigsRequestSchema, { topic: "t", set, validateOnly: true });
      await site.channel.unary(alterConfigs, request);
    }
  }
});

test("topic ids of a wrong length or of another topic delete nothing", async () => {
  for (const bytes of [1, 15, 17, 1000]) {
    const request = create(DeleteTopicRequestSchema, { name: "t", topicId: Buffer.alloc(bytes) });
    await assert.rejects(
      site.channel.unary(deleteTopic, request),
      isClear(INVALID_REQUEST, /send 16/),
    );
  }
  const other = create(DeleteTopicRequestSchema, { name: "t", topicId: Buffer.alloc(16) });
  await assert.rejects(
    site.channel.unary(deleteTopic, other),
    isClear(UNKNOWN_TOPIC_OR_PARTITION, /made again/),
  );
});

test("lists and pages of any size and place are bounded", async () => {
  for (const pageToken of ["", "\u0000", "../", "тема", "x".repeat(100_000)]) {
    const request = create(ListTopicsRequestSchema, { pageSize: 2 ** 32 - 1, pageToken });
    const { topics, nextPageToken } = await site.channel.unary(listTopics, request);
    assert.ok(topics.length <= 1 && nextPageToken === "");
  }
  for (const count of [0, 1001, 40_000]) {
    const request = create(DescribeTopicsRequestSchema, {
      names: Array.from({ length: count }, () => "t"),
    });
    await assert.rejects(
      site.channel.unary(describeTopics, request),
      isClear(INVALID_REQUEST, /send 1 to 1000/),
    );
  }
  const all = await site.channel.unary(listTopics, create(ListTopicsRequestSchema));
  assert.deepEqual(
    all.topics.map(({ name }) => name),
    ["t"],
    "nothing of all this made a topic",
  );
});

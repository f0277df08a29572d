import type { Mutant } from "../mutant.ts";
import { callMutants } from "./broker-calls.ts";
import { damageMutants } from "./broker-damage.ts";
import { followerStreamMutants } from "./broker-follower-streams.ts";
import { followingMutants } from "./broker-following.ts";
import { partitionMutants } from "./broker-partitions.ts";
import { replicationMutants } from "./broker-replication.ts";
import { surroundingsMutants } from "./surroundings.ts";

const deletions = "services/broker/src/partitions/deletions.ts";
const replicaManagerTest = "services/broker/src/partitions/replica-manager.test.ts";

/** Deletion of topics: the intent is durable, and only the intent deletes. */
const deletion: readonly Mutant[] = [
  {
    name: "broker-own-time-not-told",
    breaks: "The log is told of records that have their timestamps from this broker.",
    file: "services/broker/src/produce/appender.ts",
    replace: [["target.ownTime === true ? withOwnTime(checked) : checked", "checked"]],
    tests: ["services/broker/src/produce/appender.test.ts"],
  },
  {
    name: "delete-topic-without-a-record",
    breaks: "A topic's deletion survives a crash after it was answered.",
    file: "services/controller/src/registry.ts",
    replace: [
      [
        '        { type: "put", key: keys.deletion(topic.id), value: encodeRecord.deletion(deletion) },\n',
        "",
      ],
    ],
    tests: [replicaManagerTest],
  },
  {
    name: "delete-what-the-metadata-lacks",
    breaks: "Absence from the metadata is never a reason to delete a partition.",
    file: deletions,
    replace: [
      ["if (deletions.has(topicId)) await", "if (!snapshot.topicsById.has(topicId)) await"],
    ],
    tests: [replicaManagerTest],
  },
  {
    name: "unexplained-partitions-unnamed",
    breaks: "A partition that nothing in the metadata explains is named in the log.",
    file: deletions,
    replace: [
      ["if (this.#unexplained.has(topicId)) return;", "if (topicId !== undefined) return;"],
    ],
    tests: [replicaManagerTest],
  },
  {
    name: "failed-deletion-acknowledged",
    breaks: "A deletion's record stays while a partition could not be deleted.",
    file: deletions,
    replace: [
      [
        "if (!pendingBrokerIds.includes(brokerId) || this.#undeletable.has(id)) return;",
        "if (!pendingBrokerIds.includes(brokerId)) return;",
      ],
    ],
    tests: [replicaManagerTest],
  },
  {
    name: "deletion-forgotten-after-the-first-broker",
    breaks: "A deletion's record stays until every broker has deleted its partitions.",
    file: "services/controller/src/registry.ts",
    replace: [
      [
        "(id) => id !== brokerId);\n    const value",
        "(id) => id === -1 - brokerId);\n    const value",
      ],
    ],
    tests: [replicaManagerTest],
  },
  {
    name: "deletions-ignored-by-the-mirror",
    breaks: "The broker learns of deletions from the metadata.",
    file: "services/broker/src/metadata/mirror.ts",
    replace: [["this.#deletions.set(id, ", "this.#deletions.delete(id);\n    void ("]],
    tests: [replicaManagerTest],
  },
  {
    name: "failed-start-forgotten",
    breaks: "A partition that could not be started is tried again.",
    file: "services/broker/src/partitions/serial-work.ts",
    replace: [["clock.timer(retryMs, () => this.request())", "clock.timer(retryMs, () => {})"]],
    tests: [replicaManagerTest],
  },
  {
    name: "create-topic-answered-before-it-is-led",
    breaks: "CreateTopic is answered once its partitions are led.",
    file: "services/broker/src/broker.ts",
    replace: [["await Promise.race([served, timeout.promise]);", "void served;"]],
    tests: ["test/integration/topics.test.ts"],
  },
];

const fetchSession = "services/broker/src/fetch/session.ts";
const fetchTests = ["services/broker/src/fetch/session.test.ts"];
const badFetch = ["test/integration/bad-input-fetch.test.ts"];
const badProduce = ["test/integration/bad-input.test.ts"];
const appender = "services/broker/src/produce/appender.ts";
const appenderTests = ["services/broker/src/produce/appender.test.ts"];
const produceSession = "services/broker/src/produce/session.ts";
const replica = "services/broker/src/partitions/replica.ts";
const controllerTests = ["services/controller/src/controller.test.ts"];

const fetching: readonly Mutant[] = [
  {
    name: "half-close-ends-at-once",
    breaks: "A half-closed Fetch sends what was asked for.",
    file: fetchSession,
    replace: [
      [
        "if (request === undefined) return await this.#finish();",
        "if (request === undefined) return;",
      ],
    ],
    tests: fetchTests,
  },
  {
    name: "half-close-never-ends",
    breaks: "After a half-close, new records do not keep the stream open.",
    file: fetchSession,
    replace: [[" && this.#ending === undefined) this.#enqueue", ") this.#enqueue"]],
    tests: fetchTests,
  },
  {
    name: "gone-client-keeps-a-half-closed-stream",
    breaks: "A half-closed stream ends with its client.",
    file: fetchSession,
    replace: [['else signal.addEventListener("abort", () => resolve(), { once: true });', ""]],
    tests: fetchTests,
  },
  {
    name: "grant-while-serving-sends-twice",
    breaks: "A cursor is served by one pump at a time.",
    file: fetchSession,
    replace: [
      [
        'if (cursor.state.kind === "waiting" && this.#ending === undefined) this.#enqueue(cursor);',
        'if (cursor.state.kind !== "queued" && this.#ending === undefined) this.#enqueue(cursor);',
      ],
    ],
    tests: fetchTests,
  },
  {
    name: "progress-while-reading-lost",
    breaks: "Progress of the log that comes while it is read is seen.",
    file: fetchSession,
    replace: [
      [
        "if (cursor.offset < log.highWatermark && cursor.grantBytes > 0) {",
        "if (cursor.offset < 0) {",
      ],
    ],
    tests: fetchTests,
  },
  {
    name: "grant-not-used-up",
    breaks: "What is sent is taken from the grant.",
    file: fetchSession,
    replace: [["cursor.grantBytes = Math.max(0, cursor.grantBytes - result.bytes);", ""]],
    tests: fetchTests,
  },
  {
    name: "removed-cursor-still-sends",
    breaks: "A removed cursor sends nothing more.",
    file: fetchSession,
    replace: [['if (cursor.state.kind === "removed") return true;', ""]],
    tests: fetchTests,
  },
  {
    name: "cursors-unbounded",
    breaks: "A stream has at most cursorsMax cursors.",
    file: fetchSession,
    replace: [["if (this.#cursors.size >= limits.cursorsMax)", "if (this.#cursors.size < 0)"]],
    tests: badFetch,
  },
  {
    name: "cursor-id-reused",
    breaks: "A cursor id in use is refused.",
    file: fetchSession,
    replace: [
      ["if (this.#cursors.has(wanted.cursorId)) throw", "if (this.#cursors.size < 0) throw"],
    ],
    tests: badFetch,
  },
  {
    name: "turns-unlimited",
    breaks: "The cursors of one stream do not hold a turn of the event loop.",
    file: "services/broker/src/fetch/turn-limiter.ts",
    replace: [["      this.#left -= 1;\n", ""]],
    tests: ["services/broker/src/fetch/turn-limiter.test.ts"],
  },
];

const producing: readonly Mutant[] = [
  {
    name: "produce-window-unbounded",
    breaks: "A Produce stream whose window is full is not read.",
    file: produceSession,
    replace: [["if (this.#isBeyondWindow) await this.#waitForWindow();", ""]],
    tests: ["services/broker/src/produce/session.test.ts"],
  },
  {
    name: "produce-requests-uncounted",
    breaks: "Requests without bytes fill the window, too.",
    file: produceSession,
    replace: [[" || this.#inFlight > limits.produceInFlightMax", ""]],
    tests: ["services/broker/src/produce/session.test.ts"],
  },
  {
    name: "produce-results-in-one-message",
    breaks: "No message has more results than a client takes.",
    file: produceSession,
    replace: [
      ["at += limits.produceResultsMax) {", "at += all.length) {"],
      ["at + limits.produceResultsMax)", "all.length)"],
    ],
    tests: ["services/broker/src/produce/session.test.ts"],
  },
  {
    name: "produce-window-cuts-off",
    breaks: "A client that does not count its bytes is slow, not cut off.",
    file: produceSession,
    replace: [
      [
        "    this.#inFlightBytes += bytes;\n    this.#inFlight += 1;",
        "    if (this.#inFlightBytes > 0 && this.#inFlightBytes + bytes > this.#windowBytes) {\n" +
          '      throw violation("more than the window in flight");\n' +
          "    }\n    this.#inFlightBytes += bytes;\n    this.#inFlight += 1;",
      ],
    ],
    tests: ["test/integration/naive-pipelining.test.ts", ...badFetch],
  },
  {
    name: "produce-waits-for-who-is-gone",
    breaks: "A client that leaves while its window is full ends the stream.",
    file: produceSession,
    replace: [[" && !signal.aborted) await this.#nextAnswer();", ") await this.#nextAnswer();"]],
    tests: ["services/broker/src/produce/session.test.ts"],
  },
  {
    name: "produce-window-not-given-back",
    breaks: "An answer gives its bytes back to the window.",
    file: produceSession,
    replace: [["      this.#inFlightBytes -= bytes;\n", ""]],
    tests: ["services/broker/src/produce/session.test.ts"],
  },
  {
    name: "half-closed-produce-unanswered",
    breaks: "A half-closed Produce answers every request before it ends.",
    file: produceSession,
    replace: [["while (this.#inFlight > 0) await", "while (this.#inFlight < 0) await"]],
    tests: ["services/broker/src/produce/session.test.ts"],
  },
  {
    name: "order-epoch-off-by-one",
    breaks: "After a failure only a higher order epoch goes on.",
    file: produceSession,
    replace: [["if (orderEpoch > Math.max(", "if (orderEpoch >= Math.max("]],
    tests: badProduce,
  },
  {
    name: "failure-does-not-stop-its-followers",
    breaks: "Requests behind a failed one are not appended.",
    file: "services/broker/src/produce/pending-append.ts",
    replace: [["    this.order?.failed();\n    this.#clock", "    this.#clock"]],
    tests: badProduce,
  },
  {
    name: "append-overtakes-a-validation",
    breaks: "Batches of a partition are appended in the order of their requests.",
    file: appender,
    replace: [
      [
        "if (waiting === undefined && !(validated instanceof Promise)) {",
        "if (!(validated instanceof Promise)) {",
      ],
    ],
    tests: appenderTests,
  },
  {
    name: "compressed-append-does-not-wait-its-turn",
    breaks: "A validation that ends early waits for those before it.",
    file: appender,
    replace: [["      await waiting;\n", ""]],
    tests: appenderTests,
  },
  {
    name: "validating-bytes-uncounted",
    breaks: "Bytes that are being validated count as pending.",
    file: appender,
    replace: [
      ["    this.#validatingBytes += bytes;\n", "    this.#validatingBytes += 0 * bytes;\n"],
      ["      this.#validatingBytes -= bytes;\n", ""],
    ],
    tests: appenderTests,
  },
  {
    name: "isr-too-small-accepted",
    breaks: "acks all needs min.insync.replicas.",
    file: replica,
    replace: [
      [
        "if (append.acks === Acks.ALL && !this.#hasMinInsync()) {",
        "if (append.acks === undefined) {",
      ],
    ],
    tests: appenderTests,
  },
  {
    name: "epoch-unchecked-after-validation",
    breaks: "A batch is appended under the epoch of the moment of its append.",
    file: replica,
    replace: [
      [
        "const leader = this.requireLeader(expectedEpoch);",
        "const leader = this.requireLeader(undefined);",
      ],
    ],
    tests: appenderTests,
  },
  {
    name: "another-clusters-client-accepted",
    breaks: "A client that means another cluster is refused.",
    file: appender,
    replace: [["    refuseOtherCluster(this.identity.clusterId, clusterId);\n", ""]],
    tests: badProduce,
  },
  {
    name: "handshake-timeout-unbounded",
    breaks: "A stream without its first message is ended in time.",
    file: "services/broker/src/stream-handshake.ts",
    replace: [["clock.timer(limits.openTimeoutMs,", "clock.timer(10 * limits.openTimeoutMs,"]],
    tests: ["services/broker/src/stream-handshake.test.ts"],
  },
];

const controlling: readonly Mutant[] = [
  {
    name: "revision-guard-missing-in-a-change",
    breaks: "A topic is changed only as it was read.",
    file: "services/controller/src/controller.ts",
    replace: [
      [
        "        [isUnchanged(topic)],\n" +
          '        [{ type: "put", key, value: encodeRecord.topic(changed) }],',
        '        [],\n        [{ type: "put", key, value: encodeRecord.topic(changed) }],',
      ],
    ],
    tests: controllerTests,
  },
  {
    name: "revision-guard-missing-in-a-deletion",
    breaks: "A topic is deleted only as it was read.",
    file: "services/controller/src/registry.ts",
    replace: [
      [
        '      [{ key, target: "modRevision", equals: topic.modRevision }],\n' +
          "      [\n" +
          '        { type: "delete", range: { key } },',
        '      [],\n      [\n        { type: "delete", range: { key } },',
      ],
    ],
    tests: controllerTests,
  },
  {
    name: "topic-made-twice",
    breaks: "Of two topics of one name one is made.",
    file: "services/controller/src/controller.ts",
    replace: [
      [
        "const revision = await registry.write([absent], [put]);",
        "const revision = await registry.write([], [put]);",
      ],
    ],
    tests: controllerTests,
  },
  {
    name: "partitions-shrink",
    breaks: "The number of partitions only grows.",
    file: "services/controller/src/controller.ts",
    replace: [["if (count <= 0) {", "if (count < 0) {"]],
    tests: controllerTests,
  },
  {
    name: "partition-count-unbounded",
    breaks: "A topic has at most partitionsMax partitions.",
    file: "services/controller/src/controller.ts",
    replace: [["count >= 1 && count <= limits.partitionsMax", "count >= 1"]],
    tests: controllerTests,
  },
  {
    name: "two-replicas-on-one-broker",
    breaks: "Replicas of a partition are on different brokers.",
    file: "services/controller/src/assignment.ts",
    replace: [
      [
        "const shift = k === 0 ? 0 : 1 + ((round + k - 1)",
        "const shift = k === 0 ? 0 : ((round + k - 1)",
      ],
    ],
    tests: controllerTests,
  },
  {
    name: "unchecked-deletion-by-id",
    breaks: "A deletion that names an id deletes that topic or none.",
    file: "services/controller/src/controller.ts",
    replace: [
      ["if (length > 0 && topicIdOf(request.topicId) !== topic.id) {", "if (length < 0) {"],
    ],
    tests: controllerTests,
  },
];

export const brokerMutants: readonly Mutant[] = [
  ...deletion,
  ...fetching,
  ...producing,
  ...partitionMutants,
  ...replicationMutants,
  ...callMutants,
  ...followingMutants,
  ...damageMutants,
  ...followerStreamMutants,
  ...controlling,
  ...surroundingsMutants,
];

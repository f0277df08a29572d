import type { Mutant } from "../mutant.ts";

const replicaManager = "services/broker/src/partitions/replica-manager.ts";
const replicaManagerTest = "services/broker/src/partitions/replica-manager.test.ts";

/** Deletion of topics: the intent is durable, and only the intent deletes. */
const deletion: readonly Mutant[] = [
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
    file: replicaManager,
    replace: [
      [
        "if (snapshot.deletions.has(topicId)) await",
        "if (!snapshot.topicsById.has(topicId)) await",
      ],
    ],
    tests: [replicaManagerTest],
  },
  {
    name: "unexplained-partitions-unnamed",
    breaks: "A partition that nothing in the metadata explains is named in the log.",
    file: replicaManager,
    replace: [
      ["if (this.#unexplained.has(topicId)) return;", "if (topicId !== undefined) return;"],
    ],
    tests: [replicaManagerTest],
  },
  {
    name: "failed-deletion-acknowledged",
    breaks: "A deletion's record stays while a partition could not be deleted.",
    file: replicaManager,
    replace: [
      [
        "if (!pendingBrokerIds.includes(this.#brokerId) || this.#undeletable.has(id)) return;",
        "if (!pendingBrokerIds.includes(this.#brokerId)) return;",
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
    name: "create-topic-answered-before-it-is-led",
    breaks: "CreateTopic is answered once its partitions are led.",
    file: "services/broker/src/broker.ts",
    replace: [["await Promise.race([served, timeout.promise]);", "void served;"]],
    tests: ["test/integration/topics.test.ts"],
  },
];

export const brokerMutants: readonly Mutant[] = [...deletion];

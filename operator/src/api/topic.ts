/** The kind `Topic`. */
import { groupStateTopic, productLimits, topicSettings } from "../../gen/product.ts";
import { commonStatus } from "./conditions.ts";
import { byCluster, type Kind, lastColumns, type ObjectOfKind } from "./kind.ts";
import { clusterRef } from "./names.ts";
import { celName, fixed, neverLess } from "./rules.ts";
import { choice, integer, list, map, object, optional, type Rule, text, time } from "./schema.ts";
import { settingFields } from "./settings.ts";

/** Longest name of a topic (`checkTopicName`). */
export const topicNameMax = 249;

const { partitionsMax, replicationFactorMax } = productLimits;

const topicName = text({
  description:
    "Name of the topic in the cluster; metadata.name without it. It cannot be changed: a topic " +
    "keeps its name.",
  min: 1,
  max: topicNameMax,
  pattern: "^[a-zA-Z0-9._-]+$",
  rules: [
    {
      rule: "self != '.' && self != '..'",
      message: "a topic cannot be called . or ..: choose another name",
    },
    {
      rule: `self != '${groupStateTopic}'`,
      message: `${groupStateTopic} belongs to the cluster: choose another name`,
    },
  ],
});

const minInSync = `self.config.${celName("min.insync.replicas")}`;

const rules: readonly Rule[] = [
  fixed("clusterRef", "make a Topic for the other cluster"),
  fixed("topicName", "make another Topic, and delete this one"),
  neverLess("partitions", "partitions are never taken away. Make another topic with fewer"),
  {
    rule:
      "!has(self.replicationFactor) || !has(self.config) || " +
      `!has(${minInSync}) || ${minInSync} <= self.replicationFactor`,
    message:
      "config min.insync.replicas is more than replicationFactor, so no write could ever be " +
      "acknowledged as asked: lower it, or raise replicationFactor",
  },
];

const spec = object(
  {
    clusterRef,
    topicName: optional(topicName),
    partitions: integer({
      description:
        "Partitions of the topic. It can be raised, which sends records of a key to another " +
        "partition than before, and is never lowered.",
      min: 1,
      max: partitionsMax,
      default: 1,
    }),
    replicationFactor: optional(
      integer({
        description:
          "Replicas of each partition, at most as many as there are brokers. Without it a new " +
          "topic gets default-replication-factor of the controllers, and it is left alone " +
          "afterwards. A change adds or removes replicas, partition by partition.",
        min: 1,
        max: replicationFactorMax,
      }),
    ),
    config: optional(
      object(settingFields(topicSettings), {
        description:
          "Configs of the topic. They take effect at once, without a restart. One that is taken " +
          "out of here goes back to its default; one that is set by other means is taken back.",
      }),
    ),
    deletionPolicy: choice(["Retain", "Delete", "DeleteIfEmpty"], {
      description:
        "What becomes of the topic when this object is deleted. Retain: it stays, with its " +
        "records. Delete: it is deleted with all of its records, for good. DeleteIfEmpty: it is " +
        "deleted if it has no records, and stays otherwise; a record that is written in the moment " +
        "between the look and the deletion goes with it. When the Cluster is gone or is being " +
        "deleted, this object goes at once, whatever this says.",
      default: "Retain",
    }),
    adopt: choice(["IfMatches", "Always", "Never"], {
      description:
        "What happens to a topic that is there already. IfMatches: it is taken over if it has " +
        "what the spec says, otherwise nothing is changed and the condition Conflict says what " +
        "differs. Always: it is taken over, and changed to what the spec says. Never: the " +
        "condition Conflict says so.",
      default: "IfMatches",
    }),
  },
  { description: "The topic that is wanted.", rules },
);

const observed = object(
  {
    partitions: integer({ description: "Partitions.", min: 0, max: partitionsMax }),
    replicationFactor: integer({
      description: "Replicas of a partition, without those that are being removed.",
      min: 0,
      max: replicationFactorMax,
    }),
    config: optional(
      map(text({ description: "Its value.", max: 64 }), {
        description: "Configs that are set, by key.",
        max: 64,
        keyMax: 64,
      }),
    ),
  },
  { description: "The topic as it is in the cluster." },
);

const replicasChange = object(
  {
    target: integer({ description: "Replicas wanted.", min: 1, max: replicationFactorMax }),
    pendingPartitions: integer({
      description: "Partitions that have yet to get there.",
      min: 0,
      max: partitionsMax,
    }),
  },
  { description: "A change of the replication factor that is under way." },
);

const status = object(
  {
    ...commonStatus,
    topicId: optional(
      text({
        description:
          "Id of the topic, 32 hexadecimal digits. Only the topic with this id is ever deleted.",
        max: 32,
        pattern: "^[0-9a-f]{32}$",
      }),
    ),
    topicName: optional(
      text({ description: "Name of the topic in the cluster.", max: topicNameMax }),
    ),
    createdAt: optional(time({ description: "When the topic was created." })),
    observed: optional(observed),
    replicasChange: optional(replicasChange),
    drift: optional(
      list(text({ description: "One difference, for people.", max: 256 }), {
        description: "Where the topic differs from the spec; the first 20.",
        max: 20,
        merge: "atomic",
      }),
    ),
  },
  { description: "The topic as it is. Written by the operator." },
);

export const topicKind = {
  kind: "Topic",
  plural: "topics",
  shortName: "mrt",
  description:
    "A topic of a Millrace cluster. The object wins: what is changed by other means is changed " +
    "back. Topics without an object are left alone.",
  spec,
  status,
  rules: [
    {
      rule: `has(self.spec.topicName) || size(self.metadata.name) <= ${topicNameMax}`,
      message: `metadata.name is longer than ${topicNameMax} characters: shorten it, or set spec.topicName`,
    },
  ],
  columns: [
    {
      name: "Cluster",
      type: "string",
      jsonPath: ".spec.clusterRef.name",
      description: "Cluster of the topic.",
    },
    {
      name: "Topic",
      type: "string",
      jsonPath: ".status.topicName",
      description: "Name of the topic in the cluster.",
      priority: 1,
    },
    {
      name: "Partitions",
      type: "integer",
      jsonPath: ".status.observed.partitions",
      description: "Partitions that there are.",
    },
    {
      name: "Replicas",
      type: "integer",
      jsonPath: ".status.observed.replicationFactor",
      description: "Replicas of a partition.",
    },
    ...lastColumns,
  ],
  selectableFields: [byCluster],
} as const satisfies Kind;

export type Topic = ObjectOfKind<typeof topicKind>;

/** The kind `BrokerPool`: brokers that are alike. */
import { brokerSettings, productLimits } from "../../gen/product.ts";
import { commonStatus } from "./conditions.ts";
import { byCluster, type Kind, lastColumns, type ObjectOfKind } from "./kind.ts";
import { clusterRef, poolNameMax, rebalanceRef } from "./names.ts";
import { podTemplate, resources } from "./pod-template.ts";
import { celName, fixed, shortName } from "./rules.ts";
import { choice, flag, integer, list, object, optional, type Rule, text } from "./schema.ts";
import { settingFields } from "./settings.ts";
import { brokerStorage } from "./storage.ts";

const { brokerIdMax } = productLimits;

/** Brokers of one pool. */
export const replicasMax = 1000;

const brokerId = (description: string) => integer({ description, min: 0, max: brokerIdMax });

const nodeIds = object(
  {
    start: brokerId("The first number."),
    end: brokerId("The last number."),
  },
  {
    description:
      "Numbers for brokers of this pool. Without it a new broker gets the lowest number that no " +
      "broker of the cluster has had. A change is for new brokers; ranges of two pools must not " +
      "overlap.",
    rules: [{ rule: "self.start <= self.end", message: "start is above end: swap them" }],
  },
);

const rack = object(
  {
    topologyKey: text({
      description:
        "Label of nodes whose value is the rack of the brokers on them, such as " +
        "topology.kubernetes.io/zone. A broker whose node lacks it does not start.",
      min: 1,
      max: 317,
      pattern: "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    }),
  },
  {
    description:
      "Racks: the replicas of a partition go to different ones. Without it brokers are in no rack. " +
      "A change restarts the brokers one after the other, and moves no replica: make a Rebalance.",
  },
);

const [fileBytes, journalBytes] = ["journal-file-bytes", "journal-bytes-max"].map(
  (key) => `self.${celName(key)}`,
);

/** `checkLogSettings`, as far as both settings are in one object. */
export const journalRule: Rule = {
  rule: `!has(${journalBytes}) || !has(${fileBytes}) || ${journalBytes} >= ${fileBytes}`,
  message:
    "journal-bytes-max is less than one file of the journal (journal-file-bytes): raise the " +
    "first, or lower the second",
};

const spec = object(
  {
    clusterRef,
    replicas: integer({
      description:
        "Brokers of this pool; `kubectl scale` and autoscalers change it. More: new brokers are " +
        "added, and get replicas by new topics and by a Rebalance. Fewer: the brokers with the " +
        "highest numbers are drained, decommissioned and removed, one after the other; raising " +
        "it again calls that off.",
      min: 0,
      max: replicasMax,
      default: 3,
    }),
    nodeIds: optional(nodeIds),
    storage: brokerStorage,
    resources: optional(resources),
    rack: optional(rack),
    config: optional(
      object(settingFields(brokerSettings), {
        description:
          "Settings of the brokers of this pool, which go before spec.brokers.config of the " +
          "Cluster. A change restarts the brokers one after the other.",
        rules: [journalRule],
      }),
    ),
    template: podTemplate,
    brokersToRemove: optional(
      list(brokerId("Number of a broker."), {
        description:
          "Brokers that go first when replicas is lowered, instead of those with the highest " +
          "numbers. It removes nobody by itself.",
        max: 100,
        merge: "set",
      }),
    ),
    cordoned: flag({
      description:
        "True: the brokers of this pool get no new replicas, and keep those that they have.",
      default: false,
    }),
  },
  {
    description: "The brokers that are wanted.",
    rules: [
      fixed("clusterRef", "make a BrokerPool for the other cluster"),
      {
        rule: "!has(self.nodeIds) || self.replicas <= self.nodeIds.end - self.nodeIds.start + 1",
        message: "nodeIds has fewer numbers than replicas: widen the range",
        fieldPath: ".nodeIds",
      },
    ],
  },
);

const count = (description: string) => integer({ description, min: 0, max: replicasMax * 2 });

const idList = (description: string) =>
  list(brokerId("Number of a broker."), { description, max: replicasMax, merge: "atomic" });

const scaling = object(
  {
    state: choice(["Idle", "AddingBrokers", "Draining", "Blocked"], {
      description: "What is going on. Blocked: brokers should go, and have replicas that cannot.",
    }),
    brokers: optional(idList("Brokers that are being added or drained.")),
    message: optional(
      text({ description: "What is in the way, and what to do, for people.", max: 1024 }),
    ),
    rebalanceRef: optional(rebalanceRef),
  },
  { description: "What a change of replicas has begun." },
);

const status = object(
  {
    ...commonStatus,
    replicas: optional(count("Brokers that there are, those that are being drained included.")),
    readyReplicas: optional(count("Brokers that are ready.")),
    updatedReplicas: optional(count("Brokers whose pod and settings are as the spec says.")),
    drainingReplicas: optional(count("Brokers that are being drained.")),
    labelSelector: optional(
      text({ description: "Labels of the pods, for autoscalers.", max: 1024 }),
    ),
    nodeIds: optional(idList("Numbers of the brokers.")),
    scaling: optional(scaling),
  },
  { description: "The brokers as they are. Written by the operator." },
);

export const brokerPoolKind = {
  kind: "BrokerPool",
  plural: "brokerpools",
  shortName: "mrp",
  description:
    "Brokers of a Millrace cluster that are alike: as many, of this size, with these volumes. A " +
    "cluster has one or more pools.",
  spec,
  status,
  rules: [shortName(poolNameMax)],
  columns: [
    {
      name: "Cluster",
      type: "string",
      jsonPath: ".spec.clusterRef.name",
      description: "Cluster of the pool.",
    },
    {
      name: "Desired",
      type: "integer",
      jsonPath: ".spec.replicas",
      description: "Brokers that are wanted.",
    },
    {
      name: "Current",
      type: "integer",
      jsonPath: ".status.replicas",
      description: "Brokers that there are.",
    },
    {
      name: "Up-to-date",
      type: "integer",
      jsonPath: ".status.updatedReplicas",
      description: "Brokers that are as the spec says.",
    },
    {
      name: "Available",
      type: "integer",
      jsonPath: ".status.readyReplicas",
      description: "Brokers that are ready.",
    },
    {
      name: "Scaling",
      type: "string",
      jsonPath: ".status.scaling.state",
      description: "What a change of replicas has begun.",
      priority: 1,
    },
    ...lastColumns,
  ],
  selectableFields: [byCluster],
  scale: {
    specReplicasPath: ".spec.replicas",
    statusReplicasPath: ".status.replicas",
    labelSelectorPath: ".status.labelSelector",
  },
} as const satisfies Kind;

export type BrokerPool = ObjectOfKind<typeof brokerPoolKind>;

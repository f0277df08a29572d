/** The kind `Cluster`: what the brokers of all pools share. */
import {
  brokerSettings,
  controllerSettings,
  coordinatorSettings,
  productLimits,
} from "../../gen/product.ts";
import { journalRule } from "./broker-pool.ts";
import { clusterStatus } from "./cluster-status.ts";
import { etcd, image } from "./etcd.ts";
import { conditionColumn, type Kind, lastColumns, type ObjectOfKind } from "./kind.ts";
import { listeners } from "./listeners.ts";
import { clusterNameMax, objectName } from "./names.ts";
import { podTemplate, resources } from "./pod-template.ts";
import { planFields } from "./rebalance.ts";
import { celName, shortName } from "./rules.ts";
import { choice, flag, integer, list, object, optional, type Rule } from "./schema.ts";
import { settingFields } from "./settings.ts";

const restarts = "A change restarts them one after the other.";

const celValueOf = (key: "journal-bytes-max" | "journal-file-bytes"): string => {
  const name = `self.${celName(key)}`;
  return `(has(${name}) ? ${name} : ${brokerSettings[key].default})`;
};

/** As that of a pool, where what is left out is the product's default. */
const wholeJournalRule: Rule = {
  ...journalRule,
  rule: `${celValueOf("journal-bytes-max")} >= ${celValueOf("journal-file-bytes")}`,
};

const controllers = object(
  {
    replicas: integer({
      description:
        "Controllers. One is active, the others take its place within seconds; they keep nothing.",
      min: 1,
      max: 5,
      default: 3,
    }),
    config: optional(
      object(settingFields(controllerSettings), {
        description: `Settings of the controllers. ${restarts}`,
      }),
    ),
    resources: optional(resources),
    template: podTemplate,
  },
  { description: "The controllers, which decide who leads and where replicas go.", default: {} },
);

const coordinators = object(
  {
    replicas: integer({
      description: "Group coordinators; 0 for a cluster without consumer groups.",
      min: 0,
      max: 100,
      default: 3,
    }),
    config: optional(
      object(settingFields(coordinatorSettings), {
        description: `Settings of the group coordinators. ${restarts}`,
      }),
    ),
    resources: optional(resources),
    template: podTemplate,
  },
  { description: "The group coordinators, which serve consumer groups.", default: {} },
);

const brokers = object(
  {
    config: optional(
      object(settingFields(brokerSettings), {
        description: `Settings of the brokers of all pools. ${restarts} A BrokerPool may set its own.`,
        rules: [wholeJournalRule],
      }),
    ),
  },
  { description: "What the brokers of all pools share.", default: {} },
);

const { leasesPerRackDefault, leasesPerRackMax } = productLimits;

const rollout = object(
  {
    maxUnavailablePerRack: integer({
      description:
        "Brokers of one rack that may be down together for a rollout. Brokers of two racks, or of " +
        "none, never are. A change restarts the controllers.",
      min: 1,
      max: leasesPerRackMax,
      default: leasesPerRackDefault,
    }),
    pauseSeconds: integer({
      description: "Pause after a broker is back and in sync, before the next one, in seconds.",
      min: 0,
      max: 3600,
      default: 0,
    }),
    unsafePartitions: choice(["Block", "Allow"], {
      description:
        "What happens at partitions that can never spare a replica, such as those with one. " +
        "Block: their broker is not restarted, and the status names them. Allow: they take no " +
        "writes meanwhile.",
      default: "Block",
    }),
  },
  { description: "How brokers are replaced one after the other.", default: {} },
);

const autoRebalance = object(
  {
    onScaleUp: choice(["Disabled", "Propose", "Start"], {
      description:
        "What happens once new brokers are ready. Disabled: nothing, they get new topics alone. " +
        "Propose: a Rebalance is made, which waits for approval. Start: it is made and begun.",
      default: "Disabled",
    }),
    ...planFields,
  },
  { description: "Rebalances that the operator makes by itself.", default: {} },
);

const spec = object(
  {
    image: optional(
      image(
        "Image of all processes of the cluster, with tag or digest; that of the operator's own " +
          "version without it. A change replaces the pods one after the other: controllers, " +
          "group coordinators, brokers.",
      ),
    ),
    imagePullPolicy: choice(["Always", "IfNotPresent", "Never"], {
      description: "When nodes fetch images.",
      default: "IfNotPresent",
    }),
    imagePullSecrets: optional(
      list(
        object(
          { name: objectName({ description: "Name of the Secret." }) },
          { description: "A Secret in the same namespace." },
        ),
        {
          description: "Secrets with which nodes fetch images.",
          max: 16,
          merge: ["name"],
        },
      ),
    ),
    controllers,
    coordinators,
    brokers,
    etcd,
    listeners,
    rollout,
    autoRebalance,
    paused: flag({
      description:
        "True: the operator changes nothing of this cluster, nor of its pools, topics and " +
        "rebalances, and goes on telling what it sees.",
      default: false,
    }),
  },
  { description: "The cluster that is wanted." },
);

export const clusterKind = {
  kind: "Cluster",
  plural: "clusters",
  shortName: "mrc",
  description:
    "A Millrace cluster: its controllers, group coordinators, metadata store and listeners, and " +
    "what its brokers share. The brokers themselves are in BrokerPools. Deleting it stops all " +
    "pods, and keeps every volume.",
  spec,
  status: clusterStatus,
  rules: [shortName(clusterNameMax)],
  columns: [
    {
      name: "Brokers",
      type: "integer",
      jsonPath: ".status.brokers.ready",
      description: "Brokers that are ready.",
    },
    {
      name: "Desired",
      type: "integer",
      jsonPath: ".status.brokers.desired",
      description: "Brokers that all pools want.",
    },
    conditionColumn("Healthy", "Whether every partition has a leader and replicas enough."),
    {
      name: "Offline",
      type: "integer",
      jsonPath: ".status.partitions.offline",
      description: "Partitions without a leader.",
    },
    {
      name: "Under-replicated",
      type: "integer",
      jsonPath: ".status.partitions.underReplicated",
      description: "Partitions with a replica that is not in sync.",
      priority: 1,
    },
    {
      name: "Bootstrap",
      type: "string",
      jsonPath: ".status.listeners[0].bootstrap",
      description: "HOST:PORT that clients begin with.",
      priority: 1,
    },
    {
      name: "Image",
      type: "string",
      jsonPath: ".status.image",
      description: "Image that all processes run.",
      priority: 1,
    },
    ...lastColumns,
  ],
  selectableFields: [],
} as const satisfies Kind;

export type Cluster = ObjectOfKind<typeof clusterKind>;

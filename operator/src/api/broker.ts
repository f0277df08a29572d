/** The kind `Broker`: one per broker, made by the operator. */
import { productLimits } from "../../gen/product.ts";
import { commonStatus } from "./conditions.ts";
import { byCluster, conditionColumn, type Kind, lastColumns, type ObjectOfKind } from "./kind.ts";
import { clusterRef, objectName, poolRef } from "./names.ts";
import { fixed } from "./rules.ts";
import { choice, integer, object, optional, text, time } from "./schema.ts";

const integerMax = Number.MAX_SAFE_INTEGER;

const hash = (description: string) =>
  text({ description, min: 8, max: 64, pattern: "^[0-9a-f]+$" });

const count = (description: string) => integer({ description, min: 0, max: integerMax });

const made = "Brokers are made and deleted by the operator. Change the BrokerPool";

const spec = object(
  {
    clusterRef,
    poolRef,
    nodeId: integer({
      description:
        "Number of the broker, one in its cluster. Its volume belongs to it. It cannot be " +
        "changed, and is not given to another broker before this one is decommissioned.",
      min: 0,
      max: productLimits.brokerIdMax,
    }),
    intent: choice(["Active", "Cordoned", "Draining", "Decommissioned"], {
      description:
        "What is wanted of the broker. Active: it takes part in everything. Cordoned: it gets no " +
        "new replicas, and leads as before. Draining: its replicas move to other brokers. " +
        "Decommissioned: it is gone for good, with its data; refused by the cluster while a " +
        "partition has a replica on it. Any of them can be taken back by Active.",
      default: "Active",
      rules: [
        {
          rule: "self != 'Decommissioned' || oldSelf != 'Active'",
          message: "an active broker cannot be decommissioned: set intent to Draining first",
        },
      ],
    }),
    podTemplateHash: hash(
      "Hash of the pod's spec that is wanted; the pod is replaced when it has another one.",
    ),
    configHash: hash(
      "Hash of the settings that are wanted; the pod is replaced when it runs with others.",
    ),
    claimName: objectName({
      description: "PersistentVolumeClaim of the broker. It cannot be changed.",
    }),
  },
  {
    description: "What the operator wants of the broker. Only the operator writes it.",
    rules: [
      fixed("clusterRef", made),
      fixed("poolRef", made),
      fixed("nodeId", made),
      fixed("claimName", made),
    ],
  },
);

const maintenanceLease = object(
  {
    kind: choice(["Restart", "Drain", "ReplaceDisk", "Remove"], {
      description: "What the holder may do to the broker.",
    }),
    token: integer({
      description: "Revision of the grant; a later lease has a higher one.",
      min: 0,
      max: integerMax,
    }),
    grantedAt: time({ description: "When it was granted, by the controller's clock." }),
    expiresAt: optional(
      time({ description: "When it is over without a renewal, as the operator counts." }),
    ),
  },
  {
    description:
      "The maintenance lease that the operator holds. It takes nothing away without one.",
  },
);

const status = object(
  {
    ...commonStatus,
    phase: optional(
      choice(
        [
          "Pending",
          "Provisioning",
          "Recovering",
          "Running",
          "Restarting",
          "Draining",
          "Decommissioned",
          "DiskLost",
          "Stuck",
        ],
        {
          description:
            "Where the broker stands, in one word for people; conditions say it for programs.",
        },
      ),
    ),
    brokerEpoch: optional(count("Its registration with the controller; 0 where it has none.")),
    directoryId: optional(
      text({
        description:
          "Id of the data directory on its volume, 32 hexadecimal digits. The volume is deleted " +
          "only once this directory is given up.",
        max: 32,
        pattern: "^[0-9a-f]{32}$",
      }),
    ),
    podName: optional(text({ description: "Name of its pod.", max: 253 })),
    podUID: optional(
      text({ description: "UID of its pod, by which alone the pod is deleted.", max: 64 }),
    ),
    nodeName: optional(text({ description: "Node of its pod.", max: 253 })),
    rack: optional(text({ description: "Rack that it told the cluster.", max: 255 })),
    address: optional(
      text({ description: "HOST:PORT that clients are told for this broker.", max: 262 }),
    ),
    leaders: optional(count("Partitions that it leads.")),
    replicas: optional(count("Partitions with a replica on it.")),
    bytesUsed: optional(count("Bytes of its logs.")),
    bytesFree: optional(count("Bytes that are free on its volume.")),
    podTemplateHash: optional(hash("Hash of the spec that its pod has.")),
    configHash: optional(hash("Hash of the settings that it runs with.")),
    maintenanceLease: optional(maintenanceLease),
  },
  { description: "The broker as it is. Written by the operator." },
);

export const brokerKind = {
  kind: "Broker",
  plural: "brokers",
  shortName: "mrb",
  description:
    "One broker of a Millrace cluster, with its pod and its volume. The operator makes one for " +
    "each broker of a BrokerPool; there is nothing to write by hand.",
  spec,
  status,
  rules: [],
  columns: [
    {
      name: "Cluster",
      type: "string",
      jsonPath: ".spec.clusterRef.name",
      description: "Cluster of the broker.",
    },
    {
      name: "Pool",
      type: "string",
      jsonPath: ".spec.poolRef.name",
      description: "BrokerPool of the broker.",
      priority: 1,
    },
    { name: "ID", type: "integer", jsonPath: ".spec.nodeId", description: "Number of the broker." },
    {
      name: "Phase",
      type: "string",
      jsonPath: ".status.phase",
      description: "Where the broker stands.",
    },
    {
      name: "Leaders",
      type: "integer",
      jsonPath: ".status.leaders",
      description: "Partitions that it leads.",
    },
    {
      name: "Replicas",
      type: "integer",
      jsonPath: ".status.replicas",
      description: "Partitions with a replica on it.",
    },
    conditionColumn("Registered", "Whether the controller knows it as it runs now."),
    {
      name: "Node",
      type: "string",
      jsonPath: ".status.nodeName",
      description: "Node of its pod.",
      priority: 1,
    },
    {
      name: "Rack",
      type: "string",
      jsonPath: ".status.rack",
      description: "Rack of the broker.",
      priority: 1,
    },
    ...lastColumns,
  ],
  selectableFields: [byCluster, ".spec.poolRef.name"],
} as const satisfies Kind;

export type Broker = ObjectOfKind<typeof brokerKind>;

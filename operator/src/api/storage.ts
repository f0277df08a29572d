/** Volumes of brokers and of etcd. */
import { objectName } from "./names.ts";
import { fixed, neverSmaller } from "./rules.ts";
import { choice, object, optional, type Rule, text } from "./schema.ts";

/** Sizes are compared, so they are written as whole numbers with a unit. */
const sizePattern = "^[1-9][0-9]{0,14}(M|G|T|P|Mi|Gi|Ti|Pi)$";

const sizeOptions = {
  description:
    "Size of each volume, 1Gi to 64Ti, such as 100Gi. It can be raised, where the storage class " +
    "lets volumes grow, and is never lowered.",
  max: 20,
  pattern: sizePattern,
  rules: [
    {
      rule:
        "quantity(self).compareTo(quantity('1Gi')) >= 0 && " +
        "quantity(self).compareTo(quantity('64Ti')) <= 0",
      message: "size is not between 1Gi and 64Ti: choose one that is",
    },
  ],
} as const;

const storageClassName = optional(
  objectName({
    description:
      "Storage class of the volumes; the default class without it. It cannot be changed.",
  }),
);

const volumeAttributesClassName = optional(
  objectName({
    description:
      "Volume attributes class of the volumes, such as one with more IOPS. It can be changed, " +
      "where the driver of the storage class can.",
  }),
);

const rules: readonly Rule[] = [
  neverSmaller(
    "size",
    "volumes do not shrink. Make a BrokerPool with smaller ones, and drain the brokers of this one",
  ),
  fixed("storageClassName", "volumes keep their class. Make a BrokerPool with the other class"),
];

export const brokerStorage = object(
  {
    size: text(sizeOptions),
    storageClassName,
    volumeAttributesClassName,
    whenScaledDown: choice(["Retain", "Delete"], {
      description:
        "What becomes of the volume of a broker that was decommissioned: it stays, or is " +
        "deleted. No volume is deleted before its broker is decommissioned, nor when the " +
        "BrokerPool or the Cluster is deleted.",
      default: "Retain",
    }),
  },
  {
    description: "The volume of each broker. It has one, with everything that the broker stores.",
    rules,
  },
);

export const etcdStorage = object(
  { size: text({ ...sizeOptions, default: "8Gi" }), storageClassName },
  {
    description: "The volume of each member of etcd. It stays when the Cluster is deleted.",
    rules: [
      neverSmaller("size", "volumes do not shrink"),
      fixed("storageClassName", "volumes keep their class"),
    ],
    default: {},
  },
);

/** The status of a Cluster. */
import { productLimits } from "../../gen/product.ts";
import { commonStatus } from "./conditions.ts";
import { choice, integer, list, object, optional, text, time } from "./schema.ts";

const integerMax = Number.MAX_SAFE_INTEGER;

const count = (description: string) => integer({ description, min: 0, max: integerMax });

const ready = (what: string) =>
  object(
    { desired: count("How many are wanted."), ready: count("How many are ready.") },
    { description: `The ${what} in numbers.` },
  );

const listener = object(
  {
    name: text({ description: "Name of the listener.", max: 15 }),
    bootstrap: text({
      description: "HOST:PORT that clients begin with; any of the brokers answers.",
      max: 262,
    }),
  },
  { description: "A listener as clients find it." },
);

const rollout = object(
  {
    reason: choice(["Image", "Config", "Template", "Resources", "Request"], {
      description: "What has changed.",
    }),
    total: count("Pods that need to be replaced, those that were included."),
    updated: count("Pods that were replaced."),
    current: optional(text({ description: "Pod that is being replaced.", max: 253 })),
    blockedBy: optional(
      list(text({ description: "One thing in the way, for people.", max: 512 }), {
        description:
          "What is in the way of the next one: partitions and brokers by name, the first 20.",
        max: productLimits.blockersMax,
        merge: "atomic",
      }),
    ),
    startedAt: optional(time({ description: "When it began." })),
  },
  { description: "Pods that are replaced one after the other. Absent while none is." },
);

export const clusterStatus = object(
  {
    ...commonStatus,
    clusterId: optional(
      text({
        description:
          "Id of the cluster, as `millrace cluster status` shows it. Every process waits until " +
          "etcd holds the record of this one.",
        max: 64,
      }),
    ),
    image: optional(text({ description: "Image that all processes run.", max: 512 })),
    activeController: optional(
      integer({
        description: "Number of the active controller.",
        min: 0,
        max: productLimits.brokerIdMax,
      }),
    ),
    listeners: optional(
      list(listener, { description: "Where clients connect.", max: 8, merge: ["name"] }),
    ),
    brokers: optional(
      object(
        {
          desired: count("How many all pools want."),
          ready: count("How many are ready."),
          registered: count("How many the controller knows as they run now."),
          draining: count("How many are being drained."),
        },
        { description: "The brokers in numbers." },
      ),
    ),
    controllers: optional(ready("controllers")),
    coordinators: optional(ready("group coordinators")),
    etcd: optional(ready("members of a managed etcd")),
    partitions: optional(
      object(
        {
          total: count("All partitions."),
          offline: count("Partitions without a leader."),
          underMinIsr: count("Partitions that take no writes with acks all."),
          underReplicated: count("Partitions with a replica that is not in sync."),
        },
        { description: "The partitions in numbers." },
      ),
    ),
    rollout: optional(rollout),
  },
  { description: "The cluster as it is. Written by the operator." },
);

/**
 * The conditions of all kinds and the reasons that they give, in one place.
 *
 * `Ready`, `Reconciling` and `Stalled` are what kstatus knows: Helm, Flux and `kubectl wait` judge
 * any kind by these and by `status.observedGeneration`. An object is finished with its generation
 * once both generations agree, `Ready` is True and neither of the others is.
 */
import { conditionMessageMax, conditionReason } from "../runtime/conditions.ts";
import { choice, integer, list, object, optional, text, time } from "./schema.ts";

interface ConditionSpec {
  /** What True means. */
  readonly meaning: string;
  /** What the reasons mean. */
  readonly reasons: Readonly<Record<string, string>>;
}

type ConditionTable = Readonly<Record<string, ConditionSpec>>;

/** Conditions of every kind. */
const common = {
  Ready: {
    meaning: "The object is as its spec says, for the generation that was observed.",
    reasons: {
      AsSpecified: "Everything is as the spec says.",
      Progressing: "The operator is at work, or waits for something that it has begun.",
      Degraded: "What was as it should be is not any more; the message names it.",
      Blocked: "Something is in the way that the operator must not decide; the message names it.",
      Paused: "spec.paused is true: nothing is changed.",
      ClusterNotFound: "The Cluster that the object names does not exist.",
      ClusterNotReady: "The Cluster cannot be asked at the moment.",
      Failed: "The operator has given up; the message says why, and what to change.",
    },
  },
  Reconciling: {
    meaning: "The operator has work left for this generation.",
    reasons: {
      NewGeneration: "The spec has changed, and not all of it was acted on.",
      WaitingForPods: "Pods are not ready yet.",
      WaitingForCluster: "The cluster has not done yet what it was asked for.",
      WaitingForStorage: "A volume is not bound, or not resized yet.",
      Retrying: "A call has failed and is tried again; the message has the error.",
      Finished: "Nothing is left to do (the condition is False).",
    },
  },
  Stalled: {
    meaning: "Nothing goes on without a change by a person; the message says which.",
    reasons: {
      InvalidSpec: "The spec cannot be carried out as it is.",
      Conflict: "Something else claims the same.",
      NeedsApproval: "A person has to approve first.",
      NotStalled: "Nothing holds the operator up (the condition is False).",
    },
  },
  Quiesced: {
    meaning:
      "The operator does nothing more for this generation: it is finished, or a person is needed.",
    reasons: {
      Finished: "Everything was done.",
      Stalled: "A person is needed first.",
      Paused: "spec.paused is true.",
      AtWork: "Work is left (the condition is False).",
    },
  },
  Stable: {
    meaning: "Ready, quiesced, and nothing below is degraded: one condition for tools that wait.",
    reasons: {
      Stable: "All of it holds.",
      NotReady: "Ready is not True (the condition is False).",
      NotQuiesced: "Quiesced is not True (the condition is False).",
    },
  },
} as const satisfies ConditionTable;

/** Conditions of each kind. */
export const conditions = {
  Cluster: {
    ...common,
    Healthy: {
      meaning: "Every partition has a leader, and at least min.insync.replicas in sync.",
      reasons: {
        AllPartitionsAvailable: "All of it holds.",
        PartitionsOffline: "Partitions have no leader.",
        PartitionsUnderMinIsr: "Partitions take no writes with acks all.",
        NoActiveController: "No controller is active.",
        Unreachable: "The cluster does not answer: nothing is known.",
      },
    },
    MetadataStoreReady: {
      meaning: "etcd answers, and holds the record of this cluster.",
      reasons: {
        Available: "etcd answers.",
        Unavailable: "etcd does not answer, or refuses the credentials.",
        ForeignCluster: "etcd holds the record of another cluster.",
      },
    },
    ConfigApplied: {
      meaning: "Every process runs with the settings of this generation.",
      reasons: {
        Applied: "All of it holds.",
        RestartsPending: "Processes have yet to be restarted for their settings.",
        Refused: "A process refuses its settings; the message has its error.",
      },
    },
    RolloutComplete: {
      meaning: "No pod has yet to be replaced for a change.",
      reasons: {
        Complete: "Every pod is current.",
        Rolling: "Pods are replaced one after the other.",
        WaitingForLease: "The controller does not grant a maintenance lease; the message has why.",
        Halted: "A pod that was replaced does not become ready: no other one is touched.",
      },
    },
  },
  BrokerPool: {
    ...common,
    ScaleDownBlocked: {
      meaning: "Brokers that should go still have replicas that cannot go elsewhere.",
      reasons: {
        TooFewBrokers: "Too few active brokers would be left for the replicas of a topic.",
        NotBlocked: "Nothing is in the way (the condition is False).",
      },
    },
    StorageResized: {
      meaning: "Every volume has the size that the spec asks for.",
      reasons: {
        Resized: "All of it holds.",
        Resizing: "Volumes are growing.",
        NotSupported: "The storage class does not let volumes grow.",
      },
    },
  },
  Broker: {
    ...common,
    StorageBound: {
      meaning: "The volume is there and bound.",
      reasons: {
        Bound: "The claim is bound.",
        Pending: "The claim waits for a volume.",
        Lost: "The volume is gone, and so is the data on it.",
      },
    },
    PodScheduled: {
      meaning: "The pod has a node.",
      reasons: {
        Scheduled: "It has one.",
        Unschedulable: "No node takes it; the message has the scheduler's reason.",
        NoPod: "There is no pod at the moment.",
      },
    },
    Registered: {
      meaning: "The controller knows the broker as it runs now.",
      reasons: {
        Registered: "It is registered.",
        NotRegistered: "It has not registered yet, or was fenced.",
        Decommissioned: "It was decommissioned, and may not register.",
      },
    },
    ConfigSynced: {
      meaning: "The broker runs with the settings that it should have.",
      reasons: {
        Synced: "It does.",
        RestartPending: "It has yet to be restarted.",
      },
    },
  },
  Topic: {
    ...common,
    Synced: {
      meaning: "The topic in the cluster is as the spec says.",
      reasons: {
        Synced: "It is.",
        Creating: "It is being created.",
        Altering: "Configs or partitions are being changed.",
        Reassigning: "Replicas are being added or removed.",
        Refused: "The cluster refuses the change; the message has its error.",
      },
    },
    Conflict: {
      meaning: "The topic is not this object's to change.",
      reasons: {
        ExistsAndDiffers: "It was there before, and differs; spec.adopt says what to do then.",
        Exists: "It was there before, and spec.adopt is Never.",
        ManagedByAnother: "An older Topic has the same name in the same cluster.",
        NoConflict: "It is (the condition is False).",
      },
    },
  },
  Rebalance: {
    ...common,
    Proposed: {
      meaning: "There is a plan.",
      reasons: {
        Planned: "The plan is in the status.",
        NothingToDo: "No replica needs to move.",
        Planning: "The controller is making it (the condition is False).",
        Refused: "The controller refuses; the message has its error.",
      },
    },
    Complete: {
      meaning: "The plan is over.",
      reasons: {
        Completed: "Every move was made, or skipped for a reason that the status has.",
        Aborted: "It was ended before its end.",
        Failed: "It could not go on.",
        Replaced: "Another plan took its place before it was begun.",
        UnderWay: "It is not over (the condition is False).",
      },
    },
  },
} as const satisfies Readonly<Record<string, ConditionTable>>;

type Conditions = typeof conditions;
export type ConditionType<K extends keyof Conditions> = keyof Conditions[K] & string;
export type ReasonOf<
  K extends keyof Conditions,
  C extends keyof Conditions[K],
> = Conditions[K][C] extends { readonly reasons: infer R } ? keyof R & string : never;

const condition = object(
  {
    type: text({
      description: "What the condition is about, in CamelCase.",
      max: 316,
      pattern: "^[A-Za-z]([-A-Za-z0-9./]*[A-Za-z0-9])?$",
    }),
    status: choice(["True", "False", "Unknown"], {
      description: "Whether it holds; Unknown where that cannot be told.",
    }),
    observedGeneration: integer({
      description: "Generation of the object that the condition is about.",
      min: 0,
      max: Number.MAX_SAFE_INTEGER,
    }),
    lastTransitionTime: time({ description: "When `status` changed last." }),
    reason: text({
      description: "Why, in one word of CamelCase, for programs.",
      min: 1,
      max: 128,
      pattern: conditionReason.source,
    }),
    message: text({
      description: "Why, for people: the object that it is about, and what to do. May be empty.",
      max: conditionMessageMax,
    }),
  },
  { description: "One condition." },
);

/** What the status of every kind has. */
export const commonStatus = {
  observedGeneration: optional(
    integer({
      description:
        "Generation of the spec that was acted on completely. While it is below " +
        "metadata.generation, the rest of the status is about an older spec.",
      min: 0,
      max: Number.MAX_SAFE_INTEGER,
    }),
  ),
  conditions: optional(
    list(condition, {
      description: "What holds and what does not, one entry for each type.",
      max: 16,
      merge: ["type"],
    }),
  ),
} as const;

/** The kind `Rebalance`: what the controller's RebalanceService takes and tells. */
import { productLimits } from "../../gen/product.ts";
import { commonStatus } from "./conditions.ts";
import { byCluster, type Kind, lastColumns, type ObjectOfKind } from "./kind.ts";
import { clusterRef } from "./names.ts";
import { fixed, staysSet } from "./rules.ts";
import { choice, flag, integer, list, object, optional, text, time } from "./schema.ts";
import { topicNameMax } from "./topic.ts";

const { brokerIdMax, excludedTopicsMax, movesPerBrokerDefault, movesPerBrokerMax, partitionsMax } =
  productLimits;

const integerMax = Number.MAX_SAFE_INTEGER;
const movesMax = 20_000;

/** Also a part of a Cluster's spec, for plans that the operator asks for by itself. */
export const planFields = {
  movesPerBroker: integer({
    description:
      "Moves that a broker takes part in at the same time at most, as a new replica or as the " +
      "leader that is copied from. The controller begins with one, and adapts to what the cluster " +
      "bears.",
    min: 1,
    max: movesPerBrokerMax,
    default: movesPerBrokerDefault,
  }),
  excludedTopics: optional(
    list(text({ description: "Name of a topic in the cluster.", min: 1, max: topicNameMax }), {
      description: "Topics whose partitions stay where they are.",
      max: excludedTopicsMax,
      merge: "set",
    }),
  ),
} as const;

const anew = "a plan is made once. Make another Rebalance";

const spec = object(
  {
    clusterRef,
    ...planFields,
    approval: choice(["Manual", "Auto"], {
      description:
        "Manual: the plan waits until spec.approved is true. Auto: it is begun as soon as it is " +
        "made.",
      default: "Manual",
    }),
    approved: flag({
      description:
        "True begins a plan that waits. It cannot be taken back: set spec.aborted to end the plan.",
      default: false,
    }),
    paused: flag({
      description:
        "True: no more moves begin, those under way go on to their end. False goes on with the plan.",
      default: false,
    }),
    aborted: flag({
      description:
        "True ends the plan before its end: moves under way are taken back, those that were made " +
        "stay. It cannot be taken back.",
      default: false,
    }),
    ttlSecondsAfterFinished: optional(
      integer({
        description:
          "This object is deleted so many seconds after its plan is over; never without it.",
        min: 0,
        max: 31_536_000,
      }),
    ),
  },
  {
    description: "The plan that is wanted, and what becomes of it.",
    rules: [
      fixed("clusterRef", anew),
      fixed("movesPerBroker", anew),
      fixed("excludedTopics", anew),
      staysSet("approved", "set spec.paused to hold the plan up, or spec.aborted to end it"),
      staysSet("aborted", "make another Rebalance"),
    ],
  },
);

const count = (description: string, max = movesMax) => integer({ description, min: 0, max });

const share = (description: string) =>
  object(
    {
      replicas: count("Partitions with a replica on it.", integerMax),
      leaders: count("Partitions whose preferred leader it is.", integerMax),
      bytes: count("Bytes of these replicas, as far as they are known.", integerMax),
    },
    { description },
  );

const brokerShare = object(
  {
    id: integer({ description: "Id of the broker.", min: 0, max: brokerIdMax }),
    before: share("What it had when the plan was made."),
    after: share("What it has after the plan."),
  },
  { description: "What the plan means for one broker." },
);

const moves = object(
  {
    total: count("Partitions that get other replicas, or another order of them."),
    pending: count("Moves that wait."),
    ongoing: count("Moves under way."),
    done: count("Moves that were made."),
    skipped: count("Moves that were not made since they fit no more."),
    cancelled: count("Moves that were taken back."),
  },
  { description: "The moves of the plan, one for each partition." },
);

const skippedMove = object(
  {
    topic: text({ description: "Name of the topic.", max: topicNameMax }),
    partition: integer({ description: "Index of the partition.", min: 0, max: partitionsMax }),
    why: text({ description: "Why, for people.", max: 1024 }),
  },
  { description: "A move that was not made." },
);

const unmetGoal = object(
  {
    goal: choice(["Brokers", "Racks", "Disk", "Replicas", "Count", "Bytes", "Leaders"], {
      description:
        "The goal. Brokers, Racks, Disk and Replicas are hard: no other goal makes them worse.",
    }),
    why: text({ description: "What about it, and what would help.", max: 1024 }),
  },
  { description: "A goal that the plan does not meet." },
);

const phase = choice(
  [
    "Pending",
    "Proposed",
    "Rebalancing",
    "Paused",
    "Aborting",
    "Aborted",
    "Completed",
    "Failed",
    "Replaced",
  ],
  {
    description:
      "Where the plan stands. Pending: it is not made yet. Proposed: it waits for approval, or for " +
      "another plan to end. Rebalancing, Paused, Aborting: it is being carried out. Aborted, " +
      "Completed, Failed: it is over; Completed also where no move was needed. Replaced: another " +
      "plan took its place before it was begun.",
  },
);

const status = object(
  {
    ...commonStatus,
    phase: optional(phase),
    planId: optional(
      integer({
        description:
          "Number of the plan, as `millrace rebalance status` takes it; 0 where no move is needed.",
        min: 0,
        max: 2 ** 32 - 1,
      }),
    ),
    createdAt: optional(time({ description: "When the plan was made." })),
    startedAt: optional(time({ description: "When it was begun." })),
    endedAt: optional(time({ description: "When it was over." })),
    moves: optional(moves),
    copies: optional(count("Replicas that the plan copies.", integerMax)),
    copyBytes: optional(count("Bytes of these, as known when the plan was made.", integerMax)),
    copiedBytes: optional(count("Bytes of the moves that were made.", integerMax)),
    waiting: optional(
      text({
        description: "Why the next moves wait, for people; empty where none does.",
        max: 1024,
      }),
    ),
    reason: optional(text({ description: "Why it has failed, for people.", max: 1024 })),
    brokers: optional(
      list(brokerShare, {
        description: "Each broker before and after, in order of id; the first 200.",
        max: 200,
        merge: "atomic",
      }),
    ),
    unmetGoals: optional(
      list(unmetGoal, {
        description: "Goals that the plan does not meet.",
        max: 20,
        merge: "atomic",
      }),
    ),
    notes: optional(
      list(text({ description: "One note.", max: 1024 }), {
        description:
          "What the plan leaves out, and what it does not know, for people; the first 20.",
        max: 20,
        merge: "atomic",
      }),
    ),
    skipped: optional(
      list(skippedMove, {
        description: "Moves that were not made; the first 20.",
        max: 20,
        merge: "atomic",
      }),
    ),
  },
  { description: "The plan, and how far it is. Written by the operator." },
);

export const rebalanceKind = {
  kind: "Rebalance",
  plural: "rebalances",
  shortName: "mrr",
  description:
    "A plan that gives every broker its share of replicas, bytes and leaders, made once and " +
    "carried out by the controller. Deleting the object ends a plan that is not over, as " +
    "spec.aborted does.",
  spec,
  status,
  rules: [],
  columns: [
    {
      name: "Cluster",
      type: "string",
      jsonPath: ".spec.clusterRef.name",
      description: "Cluster of the plan.",
    },
    {
      name: "Phase",
      type: "string",
      jsonPath: ".status.phase",
      description: "Where the plan stands.",
    },
    {
      name: "Moves",
      type: "integer",
      jsonPath: ".status.moves.total",
      description: "Moves of the plan.",
    },
    {
      name: "Done",
      type: "integer",
      jsonPath: ".status.moves.done",
      description: "Moves that were made.",
    },
    {
      name: "Skipped",
      type: "integer",
      jsonPath: ".status.moves.skipped",
      description: "Moves that were not made.",
      priority: 1,
    },
    {
      name: "Waiting",
      type: "string",
      jsonPath: ".status.waiting",
      description: "Why the next moves wait.",
      priority: 1,
    },
    ...lastColumns,
  ],
  selectableFields: [byCluster],
} as const satisfies Kind;

export type Rebalance = ObjectOfKind<typeof rebalanceKind>;

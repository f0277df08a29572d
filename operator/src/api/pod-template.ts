/** What users say about pods: resources, labels, and where they go. */
import { affinity } from "./affinity.ts";
import {
  choice,
  integer,
  intOrString,
  list,
  map,
  object,
  optional,
  type Rule,
  text,
} from "./schema.ts";
import { annotations, keyMax, labelSelector, labels } from "./selectors.ts";

/** A quantity as Kubernetes writes it, such as `500m`, `2` or `4Gi`. */
const quantityPattern = String.raw`^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$`;

const amount = (description: string) =>
  optional(intOrString({ description, max: 20, pattern: quantityPattern }));

const amounts = (description: string) =>
  optional(
    object(
      {
        cpu: amount("CPUs, such as 2 or 500m."),
        memory: amount("Memory, such as 4Gi."),
        "ephemeral-storage": amount(
          "Local disk of the node for logs and temporary files, such as 1Gi.",
        ),
      },
      { description },
    ),
  );

const noMoreThanLimit = (resource: string): Rule => ({
  rule:
    "!has(self.requests) || !has(self.limits) || " +
    `!has(self.requests.${resource}) || !has(self.limits.${resource}) || ` +
    `quantity(string(self.requests.${resource}))` +
    `.compareTo(quantity(string(self.limits.${resource}))) <= 0`,
  message: `requests.${resource} is more than limits.${resource}: lower it, or raise the limit`,
});

export const resources = object(
  {
    requests: amounts("What a node must have free for a pod."),
    limits: amounts("What a pod may use at most; above its memory it is killed."),
  },
  {
    description:
      "Compute resources of each pod. A change replaces the pods one after the other. Memory for " +
      "caches is set by config, and must fit in here.",
    rules: [noMoreThanLimit("cpu"), noMoreThanLimit("memory")],
  },
);

const toleration = object(
  {
    key: optional(text({ description: "Key of the taint; every taint without it.", max: keyMax })),
    operator: choice(["Equal", "Exists"], {
      description: "Equal: the taint has this value. Exists: it has any.",
      default: "Equal",
    }),
    value: optional(text({ description: "Value of the taint; with Equal.", max: 63 })),
    effect: optional(
      choice(["NoSchedule", "PreferNoSchedule", "NoExecute"], {
        description: "Effect of the taint; every effect without it.",
      }),
    ),
    tolerationSeconds: optional(
      integer({
        description:
          "How long a pod stays on a node after the taint was set, in seconds; with NoExecute. " +
          "For ever without it.",
        min: 0,
        max: 31_536_000,
      }),
    ),
  },
  {
    description: "A taint of nodes that pods bear.",
    rules: [
      {
        rule: "has(self.key) || self.operator == 'Exists'",
        message: "a toleration without key bears every taint: give it operator Exists, or a key",
      },
      {
        rule: "self.operator == 'Equal' || !has(self.value)",
        message: "operator Exists takes no value: leave it out, or use Equal",
      },
      {
        rule: "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
        message: "tolerationSeconds goes with effect NoExecute alone: leave it out",
      },
    ],
  },
);

const spread = object(
  {
    maxSkew: integer({
      description: "How many more pods one place may have than another.",
      min: 1,
      max: 1000,
    }),
    topologyKey: text({
      description: "Label of nodes: nodes with the same value of it are the same place.",
      min: 1,
      max: keyMax,
    }),
    whenUnsatisfiable: choice(["DoNotSchedule", "ScheduleAnyway"], {
      description: "What happens to a pod that fits nowhere: it waits, or goes somewhere.",
    }),
    labelSelector: optional(
      labelSelector("Which pods are counted; those of the same role without it."),
    ),
    minDomains: optional(
      integer({
        description: "Places that there must be; with DoNotSchedule.",
        min: 1,
        max: 1000,
      }),
    ),
  },
  {
    description: "Pods are spread over places.",
    rules: [
      {
        rule: "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
        message: "minDomains goes with whenUnsatisfiable DoNotSchedule alone: leave it out",
      },
    ],
  },
);

export const podTemplate = object(
  {
    labels: optional(labels("Labels of the pods, besides the operator's own.")),
    annotations: optional(annotations("Annotations of the pods, besides the operator's own.")),
    nodeSelector: optional(
      map(text({ description: "Value of the label.", max: 63 }), {
        description: "Labels that a node must have for the pods.",
        max: 32,
        keyMax,
      }),
    ),
    affinity: optional(affinity),
    tolerations: optional(
      list(toleration, {
        description: "Taints of nodes that the pods bear.",
        max: 32,
        merge: "atomic",
      }),
    ),
    topologySpreadConstraints: optional(
      list(spread, {
        description: "How the pods are spread over places such as zones.",
        max: 8,
        merge: ["topologyKey", "whenUnsatisfiable"],
      }),
    ),
    priorityClassName: optional(
      text({
        description: "Priority class of the pods. It must exist.",
        min: 1,
        max: 253,
        pattern: "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
      }),
    ),
    terminationGracePeriodSeconds: integer({
      description:
        "How long a pod may take to stop, in seconds; then it is killed. A broker hands over " +
        "what it leads and flushes: about a minute with 10,000 partitions.",
      min: 10,
      max: 3600,
      default: 120,
    }),
  },
  {
    description:
      "What the pods get besides what they need. Labels and annotations are changed in place; " +
      "any other change replaces the pods one after the other.",
    default: {},
  },
);

/** Where pods go: the affinity of Kubernetes, with bounds. */
import { integer, list, object, optional, text } from "./schema.ts";
import { labelSelector, nodeSelectorTerm } from "./selectors.ts";

const weight = integer({
  description: "How much it counts beside the other preferences, 1 to 100.",
  min: 1,
  max: 100,
});

const nodeAffinity = object(
  {
    requiredDuringSchedulingIgnoredDuringExecution: optional(
      object(
        {
          nodeSelectorTerms: list(nodeSelectorTerm, {
            description: "Groups of nodes; a pod goes to a node of any of them.",
            min: 1,
            max: 16,
            merge: "atomic",
          }),
        },
        { description: "Nodes that pods must go to." },
      ),
    ),
    preferredDuringSchedulingIgnoredDuringExecution: optional(
      list(object({ weight, preference: nodeSelectorTerm }, { description: "A preference." }), {
        description: "Nodes that pods should go to.",
        max: 16,
        merge: "atomic",
      }),
    ),
  },
  { description: "Pods go to nodes by the labels of nodes." },
);

const podAffinityTerm = object(
  {
    labelSelector: optional(labelSelector("Which pods are meant.")),
    namespaceSelector: optional(
      labelSelector("In which namespaces, by their labels; in the object's own one without it."),
    ),
    topologyKey: text({
      description: "Label of nodes: nodes with the same value of it are the same place.",
      min: 1,
      max: 317,
    }),
  },
  { description: "Pods that stand in the same place." },
);

const podAffinity = (towards: string) =>
  object(
    {
      requiredDuringSchedulingIgnoredDuringExecution: optional(
        list(podAffinityTerm, {
          description: `Pods that a pod must stand ${towards}.`,
          max: 16,
          merge: "atomic",
        }),
      ),
      preferredDuringSchedulingIgnoredDuringExecution: optional(
        list(object({ weight, podAffinityTerm }, { description: "A preference." }), {
          description: `Pods that a pod should stand ${towards}.`,
          max: 16,
          merge: "atomic",
        }),
      ),
    },
    { description: `Pods stand ${towards} other pods.` },
  );

export const affinity = object(
  {
    nodeAffinity: optional(nodeAffinity),
    podAffinity: optional(podAffinity("beside")),
    podAntiAffinity: optional(podAffinity("apart from")),
  },
  {
    description:
      "Where pods go, as in a pod's spec. It takes the place of the operator's own rule, which " +
      "keeps the pods of one role on different nodes where it can.",
  },
);

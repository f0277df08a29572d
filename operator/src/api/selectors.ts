/** Selectors of Kubernetes, with bounds. */
import { choice, list, map, object, optional, text } from "./schema.ts";

/** Labels and annotations: a prefix of 253 characters, a slash, and 63 more. */
export const keyMax = 317;
const labelValueMax = 63;

const key = text({
  description: "Key of the label.",
  min: 1,
  max: keyMax,
});

const values = (description: string) =>
  list(text({ description: "A value.", max: labelValueMax }), {
    description,
    max: 64,
    merge: "atomic",
  });

const matchExpression = object(
  {
    key,
    operator: choice(["In", "NotIn", "Exists", "DoesNotExist"], {
      description: "How the label is compared with the values.",
    }),
    values: optional(
      values("What it is compared with; empty with the operators Exists and DoesNotExist."),
    ),
  },
  { description: "A requirement on one label." },
);

/** Labels that objects must have. */
export const labelSelector = (description: string) =>
  object(
    {
      matchLabels: optional(
        map(text({ description: "Value of the label.", max: labelValueMax }), {
          description: "Labels with their values; all of them must be there.",
          max: 32,
          keyMax,
        }),
      ),
      matchExpressions: optional(
        list(matchExpression, {
          description: "Requirements; all of them must hold.",
          max: 16,
          merge: "atomic",
        }),
      ),
    },
    { description },
  );

const ownLabels = {
  rule: "self.all(key, !key.startsWith('millrace.dev/') && !key.startsWith('app.kubernetes.io/'))",
  message:
    "keys that begin with millrace.dev/ or app.kubernetes.io/ belong to the operator: use others",
};

export const labels = (description: string) =>
  map(text({ description: "Value of the label.", max: labelValueMax }), {
    description,
    max: 64,
    keyMax,
    rules: [ownLabels],
  });

export const annotations = (description: string) =>
  map(text({ description: "Value of the annotation.", max: 4096 }), {
    description,
    max: 64,
    keyMax,
    rules: [ownLabels],
  });

const nodeExpression = object(
  {
    key,
    operator: choice(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"], {
      description: "How the label is compared with the values.",
    }),
    values: optional(
      values(
        "What it is compared with; empty with Exists and DoesNotExist, one number with Gt, Lt.",
      ),
    ),
  },
  { description: "A requirement on one label of a node." },
);

/** Nodes by their labels. */
export const nodeSelectorTerm = object(
  {
    matchExpressions: optional(
      list(nodeExpression, {
        description: "Requirements on labels; all of them must hold.",
        max: 16,
        merge: "atomic",
      }),
    ),
  },
  { description: "Nodes for which all requirements hold." },
);

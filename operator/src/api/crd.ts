/** Renders kinds as CustomResourceDefinitions. */
import { group, type Kind, version } from "./kind.ts";
import type { JsonSchema } from "./schema.ts";

/** The schema of whole objects. */
export const schemaOf = ({ description, rules, spec, status }: Kind): JsonSchema => ({
  description,
  type: "object",
  required: ["spec"],
  properties: {
    apiVersion: { description: "Version of the schema of this object.", type: "string" },
    kind: { description: "What the object is.", type: "string" },
    metadata: { type: "object" },
    spec: spec.schema,
    status: status.schema,
  },
  ...(rules.length === 0 ? {} : { "x-kubernetes-validations": rules }),
});

export interface CustomResourceDefinition {
  readonly apiVersion: "apiextensions.k8s.io/v1";
  readonly kind: "CustomResourceDefinition";
  readonly metadata: { readonly name: string };
  readonly spec: Readonly<Record<string, unknown>>;
}

export const customResourceDefinition = (kind: Kind): CustomResourceDefinition => ({
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: `${kind.plural}.${group}` },
  spec: {
    group,
    scope: "Namespaced",
    names: {
      kind: kind.kind,
      listKind: `${kind.kind}List`,
      plural: kind.plural,
      singular: kind.kind.toLowerCase(),
      shortNames: [kind.shortName],
      categories: ["millrace"],
    },
    versions: [
      {
        name: version,
        served: true,
        storage: true,
        schema: { openAPIV3Schema: schemaOf(kind) },
        subresources: { status: {}, ...(kind.scale === undefined ? {} : { scale: kind.scale }) },
        additionalPrinterColumns: kind.columns,
        ...(kind.selectableFields.length === 0
          ? {}
          : { selectableFields: kind.selectableFields.map((jsonPath) => ({ jsonPath })) }),
      },
    ],
  },
});

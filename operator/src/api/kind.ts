/** What a kind of the API is. */
import type { KubernetesObject, ObjectMeta, ResourceType } from "../runtime/kubernetes.ts";
import type { Field, Presence, Rule, ValueOf } from "./schema.ts";

export const group = "millrace.dev";
export const version = "v1alpha1";

/** A column of `kubectl get`. */
export interface PrinterColumn {
  readonly name: string;
  readonly type: "boolean" | "date" | "integer" | "string";
  readonly jsonPath: string;
  readonly description: string;
  /** Above 0: with `-o wide` alone. */
  readonly priority?: number;
}

/** Where `kubectl scale` and autoscalers find the numbers. */
export interface ScaleSubresource {
  readonly specReplicasPath: string;
  readonly statusReplicasPath: string;
  readonly labelSelectorPath: string;
}

/** A kind, and all that its CustomResourceDefinition says. */
export interface Kind<Spec = unknown, Status = unknown> {
  readonly kind: string;
  readonly plural: string;
  readonly shortName: string;
  readonly description: string;
  readonly spec: Field<Spec, Presence>;
  readonly status: Field<Status, Presence>;
  /** Rules over the whole object: its name, and spec and metadata together. */
  readonly rules: readonly Rule[];
  readonly columns: readonly PrinterColumn[];
  /** Fields that `--field-selector` takes. */
  readonly selectableFields: readonly string[];
  readonly scale?: ScaleSubresource;
}

/** An object of a kind, as the API server keeps it. */
export interface ObjectOfKind<K extends Kind> extends KubernetesObject {
  readonly metadata: ObjectMeta;
  readonly spec: ValueOf<K["spec"]>;
  readonly status?: ValueOf<K["status"]>;
}

/** How the runtime finds objects of a kind. */
export const resourceType = <K extends Kind>({
  kind,
  plural,
}: K): ResourceType<ObjectOfKind<K>> => ({ group, version, kind, plural, namespaced: true });

/** The column of a condition. */
export const conditionColumn = (type: string, description: string): PrinterColumn => ({
  name: type,
  type: "string",
  jsonPath: `.status.conditions[?(@.type=="${type}")].status`,
  description,
});

/** Columns that every kind ends with. */
export const lastColumns: readonly PrinterColumn[] = [
  conditionColumn("Ready", "Whether the object is as its spec says."),
  {
    name: "Reason",
    type: "string",
    jsonPath: '.status.conditions[?(@.type=="Ready")].reason',
    description: "Why, in a word.",
  },
  {
    name: "Age",
    type: "date",
    jsonPath: ".metadata.creationTimestamp",
    description: "Time since the object was made.",
  },
  {
    name: "Message",
    type: "string",
    jsonPath: '.status.conditions[?(@.type=="Ready")].message',
    description: "Why, for people.",
    priority: 1,
  },
];

/** The selectable field of every kind that belongs to a Cluster. */
export const byCluster = ".spec.clusterRef.name";

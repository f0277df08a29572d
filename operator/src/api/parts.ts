/** Structures that several kinds share, by name: the reference describes each of them once. */
import { affinity } from "./affinity.ts";
import { podTemplate, resources } from "./pod-template.ts";
import type { JsonSchema } from "./schema.ts";

/** Names of structures, by their schema. */
export const parts: ReadonlyMap<JsonSchema, string> = new Map([
  [affinity.schema, "Affinity"],
  [podTemplate.schema, "PodTemplate"],
  [resources.schema, "Resources"],
]);

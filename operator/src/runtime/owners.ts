/** Who an object belongs to: garbage collection, and whose reconcile a change is for. */
import type { KubernetesObject, ObjectKey, OwnerReference, ResourceType } from "./kubernetes.ts";

const apiVersionOf = ({ group, version }: ResourceType): string =>
  group === "" ? version : `${group}/${version}`;

/** The reference by which a child names the object that controls it. */
export const controllerReference = <T extends KubernetesObject>(
  type: ResourceType<T>,
  { metadata: { name, uid } }: T,
): OwnerReference => {
  if (uid === undefined) throw new Error(`${type.kind} ${name} has no uid: read it first`);
  const apiVersion = apiVersionOf(type);
  return { apiVersion, kind: type.kind, name, uid, controller: true, blockOwnerDeletion: true };
};

/** The reference to the object that controls this one. */
export const controllerOf = ({ metadata }: KubernetesObject): OwnerReference | undefined =>
  metadata.ownerReferences?.find(({ controller }) => controller === true);

/** The key of the controlling object if it is of this type, in whatever version. */
export const ownerKey = (child: KubernetesObject, type: ResourceType): ObjectKey | undefined => {
  const owner = controllerOf(child);
  if (owner === undefined || owner.kind !== type.kind) return undefined;
  const [group = ""] = owner.apiVersion.includes("/") ? owner.apiVersion.split("/") : [""];
  if (group !== type.group) return undefined;
  const namespace = type.namespaced ? (child.metadata.namespace ?? "") : "";
  return { namespace, name: owner.name };
};

/** Whether this very object controls the child: an earlier one of its name had another uid. */
export const isControlledBy = (child: KubernetesObject, owner: KubernetesObject): boolean =>
  owner.metadata.uid !== undefined && controllerOf(child)?.uid === owner.metadata.uid;

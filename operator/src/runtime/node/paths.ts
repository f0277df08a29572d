/** Where the API server has objects of a type. */
import type { ObjectKey, ResourceType } from "../kubernetes.ts";

export const collectionPath = (type: ResourceType, namespace: string | undefined): string => {
  const { group, version, plural } = type;
  const root = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  const within = type.namespaced && namespace ? `/namespaces/${encodeURIComponent(namespace)}` : "";
  return `${root}${within}/${plural}`;
};

export const objectPath = (type: ResourceType, { namespace, name }: ObjectKey): string => {
  if (name === "") throw new Error(`a ${type.kind} without a name was asked for`);
  if (type.namespaced && namespace === "") {
    throw new Error(`the ${type.kind} ${name} was asked for without its namespace`);
  }
  return `${collectionPath(type, namespace)}/${encodeURIComponent(name)}`;
};

/** `?…`, of what is there. */
export const queryOf = (parameters: Readonly<Record<string, string | undefined>>): string => {
  const given = Object.entries(parameters).filter((one): one is [string, string] => !!one[1]);
  return given.length === 0 ? "" : `?${new URLSearchParams(given).toString()}`;
};

/** Finalizers: an object stays until what was made for it elsewhere is gone. */
import { isNotFound } from "./errors.ts";
import type { KubernetesApi, KubernetesObject, ResourceType } from "./kubernetes.ts";

const withFinalizers = <T extends KubernetesObject>(object: T, finalizers: string[]): T => ({
  ...object,
  metadata: { ...object.metadata, finalizers },
});

/** Whether somebody has deleted the object, and it waits for its finalizers. */
export const isBeingDeleted = ({ metadata }: KubernetesObject): boolean =>
  metadata.deletionTimestamp !== undefined;

export const hasFinalizer = ({ metadata }: KubernetesObject, finalizer: string): boolean =>
  metadata.finalizers?.includes(finalizer) === true;

/**
 * The object with the finalizer; written only where it is missing. Await it before anything is
 * made that outlives the object. Throws `ApiError` 409 where the object has changed since it was
 * read: reconcile it anew.
 */
export const ensureFinalizer = async <T extends KubernetesObject>(
  api: Pick<KubernetesApi, "replace">,
  type: ResourceType<T>,
  object: T,
  finalizer: string,
): Promise<T> => {
  // The server takes no new finalizers for what is being deleted.
  if (hasFinalizer(object, finalizer) || isBeingDeleted(object)) return object;
  const finalizers = [...(object.metadata.finalizers ?? []), finalizer];
  return api.replace(type, withFinalizers(object, finalizers));
};

/** Lets the object go. An object that is gone already is no error. */
export const removeFinalizer = async <T extends KubernetesObject>(
  api: Pick<KubernetesApi, "replace">,
  type: ResourceType<T>,
  object: T,
  finalizer: string,
): Promise<void> => {
  if (!hasFinalizer(object, finalizer)) return;
  const finalizers = (object.metadata.finalizers ?? []).filter((one) => one !== finalizer);
  try {
    await api.replace(type, withFinalizers(object, finalizers));
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
};

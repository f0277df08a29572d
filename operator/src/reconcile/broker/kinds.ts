/** What brokers are made of in Kubernetes, as far as it is read here. */
import type { KubernetesObject, ObjectMeta, ResourceType } from "../../runtime/kubernetes.ts";

export interface PodCondition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
}

export interface Pod extends KubernetesObject {
  readonly metadata: ObjectMeta;
  readonly spec: {
    readonly nodeName?: string;
    readonly volumes?: readonly {
      readonly name: string;
      readonly persistentVolumeClaim?: { readonly claimName: string };
    }[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly reason?: string;
    readonly message?: string;
    readonly conditions?: readonly PodCondition[];
  };
}

export interface Claim extends KubernetesObject {
  readonly metadata: ObjectMeta;
  readonly spec: {
    readonly accessModes: readonly string[];
    readonly resources: { readonly requests: { readonly storage: string } };
    readonly storageClassName?: string;
    readonly volumeAttributesClassName?: string;
    readonly volumeName?: string;
  };
  readonly status?: { readonly phase?: string; readonly capacity?: { readonly storage?: string } };
}

const core = { group: "", version: "v1", namespaced: true } as const;

export const podType: ResourceType<Pod> = { ...core, kind: "Pod", plural: "pods" };
export const claimType: ResourceType<Claim> = {
  ...{ ...core, kind: "PersistentVolumeClaim", plural: "persistentvolumeclaims" },
};

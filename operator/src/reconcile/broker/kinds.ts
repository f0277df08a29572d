/** What brokers are made of in Kubernetes, as far as it is read here. */
import type { KubernetesObject, ObjectMeta, ResourceType } from "../../runtime/kubernetes.ts";

export interface PodCondition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
}

export interface Volume {
  readonly name: string;
  readonly persistentVolumeClaim?: { readonly claimName: string };
  readonly emptyDir?: object;
  readonly secret?: { readonly secretName: string };
  readonly downwardAPI?: object;
}

/** What is read of it has types; the rest is made in `pod.ts` alone. */
export interface PodSpec {
  readonly nodeName?: string;
  readonly volumes?: readonly Volume[];
  readonly initContainers?: readonly object[];
  readonly containers?: readonly object[];
  readonly hostname?: string;
  readonly subdomain?: string;
  readonly automountServiceAccountToken?: boolean;
  readonly enableServiceLinks?: boolean;
  readonly terminationGracePeriodSeconds?: number;
  readonly securityContext?: object;
  readonly imagePullSecrets?: readonly object[];
}

export interface Pod extends KubernetesObject {
  readonly metadata: ObjectMeta;
  readonly spec: PodSpec;
  readonly status?: {
    readonly phase?: string;
    readonly hostIP?: string;
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

export interface Service extends KubernetesObject {
  readonly metadata: ObjectMeta;
  readonly spec: {
    readonly type: string;
    readonly selector: Readonly<Record<string, string>>;
    readonly ports: readonly {
      readonly name: string;
      readonly port: number;
      readonly targetPort: string;
      readonly nodePort?: number;
    }[];
    readonly publishNotReadyAddresses?: boolean;
    readonly externalTrafficPolicy?: string;
    readonly loadBalancerClass?: string;
    readonly loadBalancerSourceRanges?: readonly string[];
  };
  readonly status?: {
    readonly loadBalancer?: {
      readonly ingress?: readonly { readonly ip?: string; readonly hostname?: string }[];
    };
  };
}

const core = { group: "", version: "v1", namespaced: true } as const;

export const podType: ResourceType<Pod> = { ...core, kind: "Pod", plural: "pods" };
export const claimType: ResourceType<Claim> = {
  ...{ ...core, kind: "PersistentVolumeClaim", plural: "persistentvolumeclaims" },
};
export const serviceType: ResourceType<Service> = {
  ...{ ...core, kind: "Service", plural: "services" },
};
/** Of nodes their labels are read, for racks. */
export const nodeType: ResourceType = {
  ...{ ...core, namespaced: false, kind: "Node", plural: "nodes" },
};

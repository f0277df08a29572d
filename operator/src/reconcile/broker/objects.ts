/** The objects of a broker as they are wanted. Pure. */
import { type Broker, type BrokerPool, type Cluster, resourceTypes } from "../../api/index.ts";
import { hashOf } from "../../runtime/json.ts";
import type { ObjectKey } from "../../runtime/kubernetes.ts";
import { controllerReference } from "../../runtime/owners.ts";
import { addressOf, serviceOf } from "./address.ts";
import type { Hashes } from "./hashes.ts";
import type { Claim, Pod, Service } from "./kinds.ts";
import { brokerHost, type Parents, type PodOf, podSpecOf, settingsOf } from "./pod.ts";
import { sizeToAsk } from "./quantity.ts";
import { addressAnnotation, configAnnotation, templateAnnotation } from "./view.ts";

export const brokerName = (cluster: string, nodeId: number): string =>
  `${cluster}-broker-${nodeId}`;

export const podKeyOf = ({ metadata: { namespace = "" }, spec }: Broker): ObjectKey => ({
  namespace,
  name: brokerName(spec.clusterRef.name, spec.nodeId),
});

/** Objects that the operator has made. */
export const managed = "app.kubernetes.io/managed-by=millrace-operator";

export const labelsOf = (
  cluster: string,
  pool: string,
  nodeId: number,
): Readonly<Record<string, string>> => ({
  ...{ "app.kubernetes.io/name": "millrace", "app.kubernetes.io/component": "broker" },
  "app.kubernetes.io/managed-by": "millrace-operator",
  "millrace.dev/cluster": cluster,
  "millrace.dev/pool": pool,
  "millrace.dev/broker-id": String(nodeId),
});

const aboutPod = ({ cluster, pool }: Parents, nodeId: number, image: string): PodOf => {
  const name = brokerName(cluster.metadata.name, nodeId);
  const about = { cluster, pool, nodeId, name, claimName: "", address: "", clusterId: "" };
  return { ...about, settings: [], image: cluster.spec.image ?? image };
};

/** What is not known beforehand, such as addresses, is in neither of them. */
export const hashesOf = (parents: Parents, nodeId: number, image: string): Hashes => ({
  podTemplateHash: hashOf(podSpecOf(aboutPod(parents, nodeId, image))),
  configHash: hashOf(settingsOf(parents)),
});

/** The volume's claim. It belongs to nobody, so that it outlives everything but a deletion. */
export const claimOf = (
  { broker, pool }: { readonly broker: Broker; readonly pool: BrokerPool },
  observed?: Claim,
): Claim => {
  const { clusterRef, claimName, nodeId, poolRef } = broker.spec;
  const { namespace = "" } = broker.metadata;
  const { size, storageClassName, volumeAttributesClassName } = pool.spec.storage;
  const storage = sizeToAsk(size, observed?.spec.resources.requests.storage);
  const labels = labelsOf(clusterRef.name, poolRef.name, nodeId);
  return {
    ...{ apiVersion: "v1", kind: "PersistentVolumeClaim" },
    metadata: { name: claimName, namespace, labels },
    spec: {
      accessModes: ["ReadWriteOnce"],
      resources: { requests: { storage } },
      ...(storageClassName === undefined ? {} : { storageClassName }),
      ...(volumeAttributesClassName === undefined ? {} : { volumeAttributesClassName }),
    },
  };
};

export const podOf = (parents: Parents, broker: Broker, image: string, address: string): Pod => {
  const { clusterRef, claimName, nodeId, poolRef } = broker.spec;
  const { podTemplateHash, configHash } = hashesOf(parents, nodeId, image);
  const { clusterId = "" } = parents.cluster.status ?? {};
  const { annotations, labels } = parents.pool.spec.template;
  const about = { ...aboutPod(parents, nodeId, image), address, claimName, clusterId };
  return {
    ...{ apiVersion: "v1", kind: "Pod" },
    metadata: {
      ...podKeyOf(broker),
      labels: { ...labels, ...labelsOf(clusterRef.name, poolRef.name, nodeId) },
      annotations: {
        ...annotations,
        ...{ [templateAnnotation]: podTemplateHash, [configAnnotation]: configHash },
        [addressAnnotation]: address,
      },
      ownerReferences: [controllerReference(resourceTypes.Broker, broker)],
    },
    spec: podSpecOf({ ...about, settings: settingsOf(parents) }),
  };
};

/** The Service of a broker that clients reach from outside; undefined where they reach the pod. */
export const brokerService = (cluster: Cluster, broker: Broker): Service | undefined => {
  const { nodeId, poolRef } = broker.spec;
  const { name } = cluster.metadata;
  const labels = labelsOf(name, poolRef.name, nodeId);
  return serviceOf(cluster, broker, { name: brokerName(name, nodeId), labels });
};

export const brokerAddress = (
  cluster: Cluster,
  { spec: { nodeId } }: Broker,
  service: Service | undefined,
): string | undefined => {
  const host = brokerHost(cluster, brokerName(cluster.metadata.name, nodeId));
  return addressOf(cluster, nodeId, host, service);
};

/** The objects of a broker as they are wanted. Pure. */
import { type Broker, type BrokerPool, type Cluster, resourceTypes } from "../../api/index.ts";
import { hashOf } from "../../runtime/json.ts";
import type { ObjectKey } from "../../runtime/kubernetes.ts";
import { controllerReference } from "../../runtime/owners.ts";
import type { Hashes } from "./hashes.ts";
import type { Claim, Pod } from "./kinds.ts";
import { sizeToAsk } from "./quantity.ts";
import { configAnnotation, templateAnnotation } from "./view.ts";

interface Parents {
  readonly cluster: Cluster;
  readonly pool: BrokerPool;
}

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
  "app.kubernetes.io/managed-by": "millrace-operator",
  "millrace.dev/cluster": cluster,
  "millrace.dev/pool": pool,
  "millrace.dev/broker-id": String(nodeId),
});

export const hashesOf = ({ cluster, pool }: Parents, _nodeId: number, image: string): Hashes => ({
  podTemplateHash: hashOf([cluster.spec.image ?? image, pool.spec.template, pool.spec.resources]),
  configHash: hashOf([cluster.spec.brokers, pool.spec.config]),
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

export const podOf = (parents: Parents, broker: Broker, image: string): Pod => {
  const { clusterRef, claimName, nodeId, poolRef } = broker.spec;
  const { podTemplateHash, configHash } = hashesOf(parents, nodeId, image);
  return {
    ...{ apiVersion: "v1", kind: "Pod" },
    metadata: {
      ...podKeyOf(broker),
      labels: labelsOf(clusterRef.name, poolRef.name, nodeId),
      annotations: { [templateAnnotation]: podTemplateHash, [configAnnotation]: configHash },
      ownerReferences: [controllerReference(resourceTypes.Broker, broker)],
    },
    spec: { volumes: [{ name: "data", persistentVolumeClaim: { claimName } }] },
  };
};

/** Objects of one broker for tests of single parts. */
import type { Broker, BrokerPool, Cluster } from "../../../api/index.ts";
import type { FoundBroker } from "../cluster-brokers.ts";
import type { Hashes } from "../hashes.ts";
import type { Claim, Pod } from "../kinds.ts";
import { addressAnnotation, configAnnotation, templateAnnotation, type View } from "../view.ts";

const hashes: Hashes = { podTemplateHash: "aaaaaaaa", configHash: "bbbbbbbb" };

export const directoryId = "0123456789abcdef0123456789abcdef";

export const address = "c-broker-1:7400";

export const cluster = {
  ...{ apiVersion: "millrace.dev/v1alpha1", kind: "Cluster" },
  metadata: { namespace: "n", name: "c" },
  spec: { brokers: {}, rollout: { unsafePartitions: "Block" }, etcd: { managed: {} } },
} as unknown as Cluster;

export const pool = (spec: Partial<BrokerPool["spec"]> = {}): BrokerPool => ({
  ...{ apiVersion: "millrace.dev/v1alpha1", kind: "BrokerPool" },
  metadata: { namespace: "n", name: "p", uid: "pool" },
  spec: {
    ...{ clusterRef: { name: "c" }, replicas: 3, cordoned: false },
    storage: { size: "1Gi", whenScaledDown: "Delete" },
    template: { terminationGracePeriodSeconds: 120 },
    ...spec,
  },
});

export const broker = (
  nodeId = 1,
  spec: Partial<Broker["spec"]> = {},
  status: Partial<NonNullable<Broker["status"]>> = {},
): Broker => ({
  ...{ apiVersion: "millrace.dev/v1alpha1", kind: "Broker" },
  metadata: { namespace: "n", name: `c-broker-${nodeId}`, uid: `broker-${nodeId}`, generation: 1 },
  spec: {
    ...{ clusterRef: { name: "c" }, poolRef: { name: "p" }, nodeId, intent: "Active" },
    ...{ ...hashes, claimName: `data-c-broker-${nodeId}` },
    ...spec,
  },
  status,
});

/** A condition `Ready` of the present generation. */
export const ready = (status: "True" | "False", reason = "AsSpecified") => ({
  observedGeneration: 1,
  conditions: [
    {
      ...{ type: "Ready", status, reason, message: "", observedGeneration: 1 },
      lastTransitionTime: "2026-01-01T00:00:00Z",
    },
  ],
});

export const pod = (more: Partial<Pod> = {}, made: Hashes = hashes): Pod => ({
  ...{ apiVersion: "v1", kind: "Pod" },
  metadata: {
    ...{ namespace: "n", name: "c-broker-1", uid: "pod", resourceVersion: "1" },
    annotations: {
      ...{ [templateAnnotation]: made.podTemplateHash, [configAnnotation]: made.configHash },
      [addressAnnotation]: address,
    },
    ownerReferences: [
      {
        ...{ apiVersion: "millrace.dev/v1alpha1", kind: "Broker", name: "c-broker-1" },
        ...{ uid: "broker-1", controller: true },
      },
    ],
  },
  spec: { nodeName: "node" },
  status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] },
  ...more,
});

export const claim = (phase = "Bound", metadata: Partial<Claim["metadata"]> = {}): Claim => ({
  ...{ apiVersion: "v1", kind: "PersistentVolumeClaim" },
  metadata: {
    ...{ namespace: "n", name: "data-c-broker-1", uid: "claim", resourceVersion: "1" },
    ...metadata,
  },
  spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
  status: { phase, capacity: { storage: "1Gi" } },
});

export const found = (more: Partial<FoundBroker> = {}): FoundBroker => ({
  ...{ brokerId: 1, isRegistered: true, brokerEpoch: 7, directoryId, rack: "", intent: "Active" },
  ...{ replicas: 4, leaders: 2, immovable: 0, leftovers: 0 },
  ...more,
});

/** A broker that runs as it is wanted. */
export const view = (more: Partial<View> = {}): View => ({
  ...{ broker: broker(), pool: pool(), cluster, renders: hashes, pod: pod(), claim: claim() },
  address,
  asked: { type: "asked", found: found() },
  ...more,
});

export const asked = (more: Partial<FoundBroker> = {}): View["asked"] => ({
  ...{ type: "asked", found: found(more) },
});

export const held = (kind: "Restart" | "Drain" | "ReplaceDisk" | "Remove") => ({
  maintenanceLease: { kind, token: 9, grantedAt: "2026-01-01T00:00:00Z" },
});

export const otherHashes: Hashes = { podTemplateHash: "aaaaaaaa", configHash: "cccccccc" };

/** Valid objects of every kind that set every field of its spec between them. */
import {
  brokerSettings,
  controllerSettings,
  coordinatorSettings,
  topicSettings,
} from "../../../gen/product.ts";
import type { Settings } from "../settings.ts";

export interface Sample {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: Readonly<Record<string, unknown>>;
}

const apiVersion = "millrace.dev/v1alpha1";

/** Every setting with its default. */
const all = (settings: Settings): Record<string, unknown> =>
  Object.fromEntries(Object.entries(settings).map(([key, { default: value }]) => [key, value]));

const selector = {
  matchLabels: { app: "a" },
  matchExpressions: [{ key: "tier", operator: "In", values: ["x"] }],
};

const nodeTerm = { matchExpressions: [{ key: "disk", operator: "In", values: ["ssd"] }] };

const podTerm = { labelSelector: selector, namespaceSelector: selector, topologyKey: "zone" };

const podAffinity = {
  requiredDuringSchedulingIgnoredDuringExecution: [podTerm],
  preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, podAffinityTerm: podTerm }],
};

const template = {
  labels: { team: "a" },
  annotations: { note: "b" },
  nodeSelector: { disk: "ssd" },
  affinity: {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [nodeTerm] },
      preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, preference: nodeTerm }],
    },
    podAffinity,
    podAntiAffinity: podAffinity,
  },
  tolerations: [
    { key: "a", operator: "Equal", value: "b", effect: "NoExecute", tolerationSeconds: 60 },
  ],
  topologySpreadConstraints: [
    {
      ...{ maxSkew: 1, topologyKey: "topology.kubernetes.io/zone", minDomains: 2 },
      ...{ whenUnsatisfiable: "DoNotSchedule", labelSelector: selector },
    },
  ],
  priorityClassName: "high",
  terminationGracePeriodSeconds: 60,
};

const amounts = { cpu: 1, memory: "1Gi", "ephemeral-storage": "1Gi" };
const resources = { requests: amounts, limits: { ...amounts, cpu: "1500m" } };

const cluster = (name: string, spec: Record<string, unknown>): Sample => ({
  ...{ apiVersion, kind: "Cluster", metadata: { name }, spec },
});

const peers = [
  { podSelector: selector, namespaceSelector: selector },
  { ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16"] } },
];

/** An etcd that somebody else runs. */
export const externalEtcd = {
  endpoints: ["https://etcd-1.example.com:2379", "https://etcd-2.example.com:2379"],
  prefix: "/events/",
  tls: { caSecretName: "ca", clientSecretName: "client", serverName: "etcd.example.com" },
  credentialsSecretName: "user",
};

export const samples = {
  cluster: cluster("events", {
    image: "registry.example.com/millrace:0.1.0",
    imagePullPolicy: "IfNotPresent",
    imagePullSecrets: [{ name: "registry" }],
    controllers: { replicas: 3, config: all(controllerSettings), resources, template },
    coordinators: { replicas: 3, config: all(coordinatorSettings), resources, template },
    brokers: { config: all(brokerSettings) },
    etcd: {
      managed: {
        ...{ replicas: 3, image: "etcd:v3.7.3", resources, template },
        storage: { size: "8Gi", storageClassName: "fast" },
      },
    },
    listeners: [
      {
        ...{
          name: "clients",
          type: "NodePort",
          port: 7400,
          hostTemplate: "{role}-{id}.example.com",
        },
        ...{ nodeAddressType: "ExternalIP", annotations: { a: "b" } },
        addresses: [{ role: "Broker", id: 1, host: "b1.example.com", port: 443, nodePort: 30_001 }],
        bootstrap: { nodePort: 30_000, host: "events.example.com", annotations: { a: "b" } },
        externalTrafficPolicy: "Local",
        networkPolicyPeers: peers,
      },
    ],
    rollout: { maxUnavailablePerRack: 1, pauseSeconds: 0, unsafePartitions: "Block" },
    autoRebalance: { onScaleUp: "Propose", movesPerBroker: 5, excludedTopics: ["a"] },
    paused: false,
  }),
  external: cluster("outside", {
    etcd: { external: externalEtcd },
    listeners: [
      {
        ...{ name: "clients", type: "LoadBalancer", loadBalancerClass: "example.com/nlb" },
        loadBalancerSourceRanges: ["203.0.113.0/24"],
      },
    ],
  }),
  pool: {
    ...{ apiVersion, kind: "BrokerPool", metadata: { name: "ssd" } },
    spec: {
      clusterRef: { name: "events" },
      replicas: 3,
      nodeIds: { start: 1, end: 99 },
      storage: {
        ...{ size: "100Gi", storageClassName: "fast", volumeAttributesClassName: "gold" },
        whenScaledDown: "Retain",
      },
      resources,
      rack: { topologyKey: "topology.kubernetes.io/zone" },
      config: all(brokerSettings),
      template,
      brokersToRemove: [3],
      cordoned: false,
    },
  },
  broker: {
    ...{ apiVersion, kind: "Broker", metadata: { name: "ssd-1" } },
    spec: {
      ...{ clusterRef: { name: "events" }, poolRef: { name: "ssd" }, nodeId: 1 },
      ...{ intent: "Active", podTemplateHash: "0123abcd", configHash: "4567cdef" },
      claimName: "data-ssd-1",
    },
  },
  topic: {
    ...{ apiVersion, kind: "Topic", metadata: { name: "orders" } },
    spec: {
      ...{ clusterRef: { name: "events" }, topicName: "Orders_v1", partitions: 6 },
      ...{ replicationFactor: 3, deletionPolicy: "Retain", adopt: "IfMatches" },
      config: { ...all(topicSettings), "min.insync.replicas": 2 },
    },
  },
  rebalance: {
    ...{ apiVersion, kind: "Rebalance", metadata: { name: "after-scale-up" } },
    spec: {
      ...{ clusterRef: { name: "events" }, movesPerBroker: 5, excludedTopics: ["audit"] },
      ...{ approval: "Manual", approved: false, paused: false, aborted: false },
      ttlSecondsAfterFinished: 86_400,
    },
  },
} as const satisfies Readonly<Record<string, Sample>>;

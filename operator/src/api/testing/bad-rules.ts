/** Objects that a CEL rule refuses: what no bound of a single field can say. */
import { pathText, type Refused, withValue } from "./bad-values.ts";
import { externalEtcd, type Sample, samples } from "./samples.ts";

type Path = readonly (number | string)[];

const { broker, cluster, external, pool, rebalance, topic }: Record<keyof typeof samples, Sample> =
  samples;

/** A sample with one value that a rule refuses. */
const wrong = (sample: Sample, path: Path, value: unknown, says: string, at?: string): Refused => ({
  name: `${sample.kind}: ${pathText(path)} is ${JSON.stringify(value)?.slice(0, 60)}`,
  ...{ object: withValue(sample, path, value), at: at ?? pathText(path), says },
});

/** A change of a sample that a rule refuses. */
const changed = (
  before: Sample,
  path: Path,
  value: unknown,
  says: string,
  at?: string,
): Refused => ({
  name: `${before.kind}: ${pathText(path)} changes to ${JSON.stringify(value)}`,
  ...{ object: withValue(before, path, value), before, at: at ?? pathText(path), says },
});

const listener = ["spec", "listeners", 0];
const internal = withValue(
  withValue(cluster, listener, { name: "clients", type: "Internal" }),
  ["metadata", "name"],
  "inside",
);

const onListener = (name: string, value: unknown, says: string, at?: string): Refused =>
  wrong(internal, [...listener, name], value, says, at);

const listeners: readonly Refused[] = [
  onListener("hostTemplate", "{role}-{id}.a", "hostTemplate is for clients outside"),
  onListener("addresses", [{ role: "Broker", id: 1, port: 1 }], "addresses is for clients outside"),
  onListener("externalTrafficPolicy", "Local", "externalTrafficPolicy is for clients outside"),
  onListener("annotations", { a: "b" }, "annotations is for clients outside"),
  onListener("nodeAddressType", "Hostname", "nodeAddressType goes with type NodePort alone"),
  onListener("loadBalancerClass", "a", "loadBalancerClass goes with type LoadBalancer alone"),
  onListener(
    "loadBalancerSourceRanges",
    ["10.0.0.0/8"],
    "loadBalancerSourceRanges goes with type LoadBalancer alone",
  ),
  onListener("bootstrap", { nodePort: 1 }, "bootstrap.nodePort goes with type NodePort alone"),
  onListener("port", 7401, "ports 7401, 7402, 7480 are used"),
  onListener("port", 7402, "ports 7401, 7402, 7480 are used"),
  onListener("port", 7480, "ports 7401, 7402, 7480 are used"),
  wrong(
    external,
    [...listener, "addresses"],
    [{ role: "Broker", id: 1, nodePort: 1 }],
    "addresses[].nodePort goes with type NodePort alone",
  ),
  wrong(
    cluster,
    [...listener, "addresses", 0],
    { role: "Broker", id: 1 },
    "an address says nothing",
  ),
  ...["broker.a", "{role}.a", "{id}.a"].map((template) =>
    wrong(cluster, [...listener, "hostTemplate"], template, "every process the same name"),
  ),
  ...[{}, { podSelector: {}, ipBlock: { cidr: "10.0.0.0/8" } }].map((peer) =>
    wrong(cluster, [...listener, "networkPolicyPeers", 0], peer, "a peer is either"),
  ),
];

const etcd = ["spec", "etcd"];

const stores: readonly Refused[] = [
  wrong(cluster, etcd, {}, "etcd is either managed or external"),
  wrong(
    cluster,
    etcd,
    { managed: {}, external: externalEtcd },
    "etcd is either managed or external",
  ),
  changed(
    cluster,
    etcd,
    { external: externalEtcd },
    "etcd cannot be changed from managed to external",
  ),
  changed(external, etcd, { managed: {} }, "etcd cannot be changed from managed to external"),
  changed(cluster, [...etcd, "managed", "replicas"], 5, "replicas cannot be changed"),
  changed(
    cluster,
    [...etcd, "managed", "storage", "size"],
    "7Gi",
    "size cannot be lowered: volumes do not shrink",
  ),
  changed(
    cluster,
    [...etcd, "managed", "storage", "storageClassName"],
    "slow",
    "storageClassName cannot be changed",
  ),
  changed(external, [...etcd, "external", "prefix"], "/other/", "prefix cannot be changed"),
  wrong(
    external,
    [...etcd, "external", "endpoints"],
    ["https://a:1", "http://b:1"],
    "some endpoints are https and some are http",
  ),
  wrong(
    external,
    [...etcd, "external", "endpoints"],
    ["http://a:1"],
    "tls is set, and the endpoints are http",
    "spec.etcd.external.tls",
  ),
];

const config = ["spec", "brokers", "config"];
const journal = "journal-bytes-max is less than one file of the journal";
const nameRule = "metadata.name is the beginning of names of pods";
const template = ["spec", "template"];
const toleration = [...template, "tolerations", 0];

const clusters: readonly Refused[] = [
  wrong(cluster, config, { "journal-bytes-max": 67_108_863 }, journal),
  wrong(cluster, config, { "journal-file-bytes": 536_870_913 }, journal),
  ...["a".repeat(41), "1st", "a.b"].map((name) =>
    wrong(cluster, ["metadata", "name"], name, nameRule, ""),
  ),
];

const pools: readonly Refused[] = [
  ...["a".repeat(41), "1st", "a.b"].map((name) =>
    wrong(pool, ["metadata", "name"], name, nameRule, ""),
  ),
  wrong(
    pool,
    ["spec", "config"],
    { "journal-bytes-max": 67_108_863, "journal-file-bytes": 67_108_864 },
    journal,
  ),
  wrong(pool, ["spec", "nodeIds"], { start: 2, end: 1 }, "start is above end"),
  wrong(pool, ["spec", "nodeIds"], { start: 1, end: 2 }, "nodeIds has fewer numbers than replicas"),
  changed(
    pool,
    ["spec", "clusterRef", "name"],
    "b",
    "clusterRef cannot be changed",
    "spec.clusterRef",
  ),
  changed(pool, ["spec", "storage", "size"], "99Gi", "size cannot be lowered"),
  ...["slow", undefined].map((name) =>
    changed(
      pool,
      ["spec", "storage", "storageClassName"],
      name,
      "storageClassName cannot be changed",
    ),
  ),
  ...["1023Mi", "1000M", "65Ti"].map((size) =>
    wrong(pool, ["spec", "storage", "size"], size, "size is not between 1Gi and 64Ti"),
  ),
  wrong(
    pool,
    ["spec", "resources", "requests", "cpu"],
    2,
    "requests.cpu is more",
    "spec.resources",
  ),
  wrong(
    pool,
    ["spec", "resources", "requests", "memory"],
    "1025Mi",
    "requests.memory is more",
    "spec.resources",
  ),
  ...["labels", "annotations"].flatMap((map) =>
    ["millrace.dev/a", "app.kubernetes.io/name"].map((key) =>
      wrong(pool, [...template, map], { [key]: "a" }, "belong to the operator"),
    ),
  ),
  ...["", "a".repeat(318)].map((key) =>
    wrong(pool, [...template, "labels"], { [key]: "a" }, "a key is empty, or longer than 317"),
  ),
  wrong(pool, toleration, { operator: "Equal" }, "a toleration without key"),
  wrong(pool, toleration, { operator: "Exists", value: "a", key: "a" }, "Exists takes no value"),
  wrong(
    pool,
    toleration,
    { key: "a", effect: "NoSchedule", tolerationSeconds: 1 },
    "tolerationSeconds goes with effect NoExecute alone",
  ),
  wrong(
    pool,
    [...template, "topologySpreadConstraints", 0, "whenUnsatisfiable"],
    "ScheduleAnyway",
    "minDomains goes with",
    "spec.template.topologySpreadConstraints[0]",
  ),
];

const others: readonly Refused[] = [
  changed(broker, ["spec", "nodeId"], 2, "nodeId cannot be changed"),
  changed(broker, ["spec", "claimName"], "other", "claimName cannot be changed"),
  changed(broker, ["spec", "poolRef"], { name: "b" }, "poolRef cannot be changed"),
  changed(broker, ["spec", "clusterRef"], { name: "b" }, "clusterRef cannot be changed"),
  changed(
    broker,
    ["spec", "intent"],
    "Decommissioned",
    "an active broker cannot be decommissioned",
  ),
  ...[".", ".."].map((name) =>
    wrong(topic, ["spec", "topicName"], name, "a topic cannot be called"),
  ),
  wrong(topic, ["spec", "topicName"], "__group_state", "__group_state belongs to the cluster"),
  wrong(topic, ["spec", "replicationFactor"], 1, "config min.insync.replicas is more", "spec"),
  wrong(
    withValue(topic, ["spec", "topicName"], undefined),
    ["metadata", "name"],
    "a".repeat(250),
    "metadata.name is longer than 249 characters",
    "",
  ),
  changed(topic, ["spec", "clusterRef"], { name: "b" }, "clusterRef cannot be changed"),
  ...["other", undefined].map((name) =>
    changed(topic, ["spec", "topicName"], name, "topicName cannot be changed"),
  ),
  changed(topic, ["spec", "partitions"], 5, "partitions cannot be lowered"),
  changed(rebalance, ["spec", "clusterRef"], { name: "b" }, "clusterRef cannot be changed"),
  changed(rebalance, ["spec", "movesPerBroker"], 6, "movesPerBroker cannot be changed"),
  ...[["other"], undefined].map((topics) =>
    changed(rebalance, ["spec", "excludedTopics"], topics, "excludedTopics cannot be changed"),
  ),
  ...["approved", "aborted"].map((name) =>
    changed(
      withValue(rebalance, ["spec", name], true),
      ["spec", name],
      false,
      `${name} cannot be taken back`,
    ),
  ),
];

export const badRules: readonly Refused[] = [
  ...listeners,
  ...stores,
  ...clusters,
  ...pools,
  ...others,
];

/** A change that must be admitted. */
const allowed = (before: Sample, path: Path, value: unknown) => ({
  name: `${before.kind}: ${pathText(path)} changes to ${JSON.stringify(value)?.slice(0, 60)}`,
  ...{ before, object: withValue(before, path, value) },
});

/** What must be admitted: the edges of the rules from inside. */
export const goodChanges = [
  allowed(topic, ["spec", "partitions"], 7),
  allowed(topic, ["spec", "partitions"], 6),
  allowed(topic, ["spec", "replicationFactor"], 2),
  allowed(topic, ["spec", "config"], undefined),
  allowed(pool, ["spec", "storage", "size"], "101Gi"),
  allowed(pool, ["spec", "storage", "size"], "64Ti"),
  allowed(pool, ["spec", "replicas"], 0),
  allowed(pool, ["spec", "replicas"], 99),
  allowed(pool, ["spec", "config"], { "journal-bytes-max": 67_108_863 }),
  allowed(pool, ["metadata", "name"], "a".repeat(40)),
  allowed(cluster, ["spec", "brokers", "config"], { "journal-bytes-max": 67_108_864 }),
  allowed(cluster, ["spec", "etcd", "managed", "storage", "size"], "9Gi"),
  allowed(external, ["spec", "etcd", "external", "endpoints"], ["https://other:2379"]),
  allowed(broker, ["spec", "intent"], "Draining"),
  allowed(withValue(broker, ["spec", "intent"], "Draining"), ["spec", "intent"], "Decommissioned"),
  allowed(rebalance, ["spec", "approved"], true),
  allowed(rebalance, ["spec", "aborted"], true),
  allowed(withValue(rebalance, ["spec", "paused"], true), ["spec", "paused"], false),
] as const;

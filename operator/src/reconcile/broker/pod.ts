/** The spec of a broker's pod. Pure. */
import type { BrokerPool, Cluster } from "../../api/index.ts";
import { listenerOf } from "./address.ts";
import type { PodSpec } from "./kinds.ts";

/** Annotation of a pod that has a node: its rack. */
export const rackAnnotation = "millrace.dev/rack";

export interface Parents {
  readonly cluster: Cluster;
  readonly pool: BrokerPool;
}

export const ports = { internal: 7401, health: 7402, http: 7480 } as const;

const user = 10_001;
const dataPath = "/var/lib/millrace";
const secretsPath = "/etc/millrace/etcd";

/** Where the processes of the cluster reach a broker. */
export const brokerHost = (cluster: Cluster, pod: string): string => {
  const { name, namespace = "" } = cluster.metadata;
  return `${pod}.${name}-brokers.${namespace}.svc`;
};

interface Variable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: object;
}

const variable = (name: string, value: string): Variable => ({ name: `MILLRACE_${name}`, value });

/** Settings of brokers: those of the pool go before those of the Cluster. */
export const settingsOf = ({ cluster, pool }: Parents): readonly Variable[] => {
  const settings = { ...cluster.spec.brokers.config, ...pool.spec.config };
  return Object.entries(settings)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => variable(key.replaceAll("-", "_").toUpperCase(), String(value)))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
};

interface Secrets {
  readonly variables: readonly Variable[];
  /** Secrets whose keys are files, by the folder that they are in. */
  readonly folders: Readonly<Record<string, string>>;
}

const file = (folder: string, key: string): string => `${secretsPath}/${folder}/${key}`;

/** How the metadata store is reached. */
const storeOf = ({ cluster }: Parents): Secrets => {
  const { external } = cluster.spec.etcd;
  if (external === undefined) {
    const { name, namespace = "" } = cluster.metadata;
    const endpoint = `${name}-etcd.${namespace}.svc:2379`;
    return { variables: [variable("ETCD_ENDPOINTS", endpoint)], folders: {} };
  }
  const { credentialsSecretName: credentials, endpoints, prefix, tls } = external;
  const plain = endpoints.map((one) => one.replace(/^http:\/\//, ""));
  const variables = [variable("ETCD_ENDPOINTS", plain.join(",")), variable("ETCD_PREFIX", prefix)];
  const folders: Record<string, string> = {};
  if (tls !== undefined) {
    folders["ca"] = tls.caSecretName;
    variables.push(variable("ETCD_CA_FILE", file("ca", "ca.crt")));
    if (tls.serverName !== undefined) variables.push(variable("ETCD_SERVER_NAME", tls.serverName));
  }
  if (tls?.clientSecretName !== undefined) {
    folders["client"] = tls.clientSecretName;
    variables.push(variable("ETCD_CERT_FILE", file("client", "tls.crt")));
    variables.push(variable("ETCD_KEY_FILE", file("client", "tls.key")));
  }
  if (credentials !== undefined) {
    folders["user"] = credentials;
    variables.push(variable("ETCD_PASSWORD_FILE", file("user", "password")));
    const secretKeyRef = { name: credentials, key: "username" };
    variables.push({ name: "MILLRACE_ETCD_USER", valueFrom: { secretKeyRef } });
  }
  return { variables, folders };
};

/** What a pod learns from its annotations once it has a node: which rack that is in. */
const rackField = { fieldRef: { fieldPath: `metadata.annotations['${rackAnnotation}']` } };
const podPath = "/etc/millrace/pod";

/** Waits for the file: variables are read when a container starts, and not again. */
export const waitForRack = (path: string): string =>
  `const fs=require("fs"),own=require("process"),path=${JSON.stringify(path)};` +
  "const look=()=>{try{if(fs.readFileSync(path,'utf8'))own.exit(0)}catch{}};" +
  "own.on('SIGTERM',()=>own.exit(1));fs.watchFile(path,{interval:200},look);look()";

const lockedDown = {
  ...{ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
  capabilities: { drop: ["ALL"] },
};

const rackParts = ({ cluster, image, pool }: PodOf) => {
  if (pool.spec.rack === undefined) return { containers: [], variables: [], volumes: [] };
  const { imagePullPolicy } = cluster.spec;
  const waiting = {
    ...{ name: "rack", image, imagePullPolicy, args: ["-e", waitForRack(`${podPath}/rack`)] },
    securityContext: lockedDown,
    volumeMounts: [
      { name: "pod", mountPath: podPath },
      { name: "tmp", mountPath: "/tmp" },
    ],
  };
  return {
    containers: [waiting],
    variables: [{ name: "MILLRACE_RACK", valueFrom: rackField }],
    volumes: [{ name: "pod", downwardAPI: { items: [{ path: "rack", ...rackField }] } }],
  };
};

const probe = (path: string, more: object): object => ({
  ...{ httpGet: { path, port: "http" }, timeoutSeconds: 5 },
  ...more,
});

/** A broker that recovers a large log takes a while before it is alive. */
const probes = {
  startupProbe: probe("/livez", { periodSeconds: 2, failureThreshold: 1800 }),
  livenessProbe: probe("/livez", { periodSeconds: 10, failureThreshold: 6 }),
  readinessProbe: probe("/readyz", { periodSeconds: 2, failureThreshold: 3 }),
};

export interface PodOf extends Parents {
  readonly nodeId: number;
  readonly name: string;
  readonly claimName: string;
  /** HOST:PORT that clients are told. */
  readonly address: string;
  /** Empty while it is not known. */
  readonly clusterId: string;
  readonly settings: readonly Variable[];
  readonly image: string;
}

const containerOf = (about: PodOf, store: Secrets): object => {
  const { address, cluster, clusterId, image, name, nodeId, pool, settings } = about;
  const { port } = listenerOf(cluster);
  const all = (number: number): string => `0.0.0.0:${number}`;
  return {
    ...{ name: "broker", image, imagePullPolicy: cluster.spec.imagePullPolicy },
    args: ["services/broker/src/process/main.ts"],
    env: [
      { name: "MILLRACE_HOST_IP", valueFrom: { fieldRef: { fieldPath: "status.hostIP" } } },
      { name: "NODE_COMPILE_CACHE", value: "/tmp/compile" },
      variable("BROKER_ID", String(nodeId)),
      variable("DATA_DIR", `${dataPath}/data`),
      ...[variable("LISTEN", all(port)), variable("ADVERTISE", address)],
      variable("INTERNAL_LISTEN", all(ports.internal)),
      variable("INTERNAL_ADVERTISE", `${brokerHost(cluster, name)}:${ports.internal}`),
      variable("HEALTH_LISTEN", all(ports.health)),
      variable("HTTP_LISTEN", all(ports.http)),
      ...(clusterId === "" ? [] : [variable("CLUSTER_ID", clusterId)]),
      ...[...store.variables, ...rackParts(about).variables, ...settings],
    ],
    ports: Object.entries({ client: port, ...ports }).map(([portName, containerPort]) => ({
      name: portName,
      containerPort,
    })),
    ...(pool.spec.resources === undefined ? {} : { resources: pool.spec.resources }),
    ...probes,
    securityContext: lockedDown,
    volumeMounts: [
      { name: "data", mountPath: dataPath },
      { name: "tmp", mountPath: "/tmp" },
      ...Object.keys(store.folders).map((folder) => ({
        ...{ name: `etcd-${folder}`, mountPath: `${secretsPath}/${folder}`, readOnly: true },
      })),
    ],
  };
};

/** Spread rules without a selector are about the brokers of the cluster. */
const spreadOf = ({ cluster, pool }: Parents): object => {
  const { topologySpreadConstraints: all } = pool.spec.template;
  if (all === undefined) return {};
  const matchLabels = {
    "millrace.dev/cluster": cluster.metadata.name,
    "app.kubernetes.io/component": "broker",
  };
  return {
    topologySpreadConstraints: all.map((one) => ({ labelSelector: { matchLabels }, ...one })),
  };
};

export const podSpecOf = (about: PodOf): PodSpec => {
  const { claimName, cluster, name, pool } = about;
  const store = storeOf(about);
  const { affinity, nodeSelector, priorityClassName, tolerations } = pool.spec.template;
  const { imagePullSecrets } = cluster.spec;
  const rack = rackParts(about);
  return {
    ...(rack.containers.length === 0 ? {} : { initContainers: rack.containers }),
    containers: [containerOf(about, store)],
    volumes: [
      { name: "data", persistentVolumeClaim: { claimName } },
      { name: "tmp", emptyDir: {} },
      ...rack.volumes,
      ...Object.entries(store.folders).map(([folder, secretName]) => ({
        name: `etcd-${folder}`,
        secret: { secretName },
      })),
    ],
    ...{ hostname: name, subdomain: `${cluster.metadata.name}-brokers` },
    ...{ automountServiceAccountToken: false, enableServiceLinks: false },
    terminationGracePeriodSeconds: pool.spec.template.terminationGracePeriodSeconds,
    securityContext: {
      ...{ runAsNonRoot: true, runAsUser: user, runAsGroup: user, fsGroup: user },
      ...{ fsGroupChangePolicy: "OnRootMismatch", seccompProfile: { type: "RuntimeDefault" } },
    },
    ...(imagePullSecrets === undefined ? {} : { imagePullSecrets }),
    ...(affinity === undefined ? {} : { affinity }),
    ...(nodeSelector === undefined ? {} : { nodeSelector }),
    ...(priorityClassName === undefined ? {} : { priorityClassName }),
    ...(tolerations === undefined ? {} : { tolerations }),
    ...spreadOf(about),
  };
};

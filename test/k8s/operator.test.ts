/**
 * The operator on a real cluster: brokers that it makes serve, are rolled, come and go under load,
 * and nothing that was acknowledged is lost.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Client, connect } from "@millrace/client";
import { type BrokerPool, customResourceDefinition, kinds } from "../../operator/src/api/index.ts";
import { imageName, makeServerImage } from "../../tools/images/server.ts";
import { clusterDirectory } from "../../tools/k8s/cluster.ts";
import { importImages } from "../../tools/k8s/images.ts";
import { nodeAddress } from "../../tools/k8s/node-config.ts";
import { Etcd, skipped as etcdSkipped } from "../etcd/etcd.ts";
import { kubectl, skipReason, withCluster } from "./whole-cluster.ts";

const directory = mkdtempSync(join(tmpdir(), "millrace-operator-test-"));
after(() => rmSync(directory, { recursive: true, force: true }));
const volumes = join(clusterDirectory, "volumes");
const namespace = "default";
const main = fileURLToPath(new URL("../../operator/src/main.ts", import.meta.url));
const user = 10_001;

const create = async (...objects: readonly object[]): Promise<void> => {
  const file = join(directory, "objects.json");
  const list = { apiVersion: "v1", kind: "List", items: objects };
  writeFileSync(file, JSON.stringify(list));
  await kubectl("create", "-f", file);
};

const until = async (what: string, seconds: number, isSo: () => Promise<boolean>) => {
  const endMs = performance.now() + seconds * 1000;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${seconds} s`);
    await sleep(500);
  }
};

/** A directory of the machine as a volume, for the user of the pods. */
const volume = (number: number): object => {
  const path = join(volumes, String(number));
  mkdirSync(path, { recursive: true });
  chownSync(path, user, user);
  return {
    ...{ apiVersion: "v1", kind: "PersistentVolume", metadata: { name: `volume-${number}` } },
    spec: {
      ...{ accessModes: ["ReadWriteOnce"], capacity: { storage: "1Gi" } },
      ...{ storageClassName: "manual", persistentVolumeReclaimPolicy: "Retain" },
      hostPath: { path },
    },
  };
};

const headless = {
  ...{ apiVersion: "v1", kind: "Service", metadata: { name: "big-brokers", namespace } },
  spec: {
    ...{ clusterIP: "None", publishNotReadyAddresses: true },
    selector: { "millrace.dev/cluster": "big", "app.kubernetes.io/component": "broker" },
    ports: [{ name: "internal", port: 7401 }],
  },
};

const controller = (etcdPort: number): object => ({
  ...{ apiVersion: "v1", kind: "Pod", metadata: { name: "controller", namespace } },
  spec: {
    enableServiceLinks: false,
    securityContext: { runAsNonRoot: true, runAsUser: user, fsGroup: user },
    containers: [
      {
        ...{ name: "controller", image: imageName, imagePullPolicy: "Never" },
        args: ["services/controller/src/process/main.ts"],
        env: [
          { name: "POD_IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
          { name: "MILLRACE_CONTROLLER_ID", value: "0" },
          { name: "MILLRACE_DATA_DIR", value: "" },
          { name: "MILLRACE_ETCD_ENDPOINTS", value: `${nodeAddress}:${etcdPort}` },
          { name: "MILLRACE_ADVERTISE", value: "$(POD_IP):7400" },
          { name: "MILLRACE_INTERNAL_LISTEN", value: "0.0.0.0:7401" },
          { name: "MILLRACE_INTERNAL_ADVERTISE", value: "$(POD_IP):7401" },
        ],
        readinessProbe: { httpGet: { path: "/readyz", port: 7480 }, periodSeconds: 1 },
        volumeMounts: [{ name: "tmp", mountPath: "/tmp" }],
      },
    ],
    volumes: [{ name: "tmp", emptyDir: {} }],
  },
});

const apiVersion = "millrace.dev/v1alpha1";

const cluster = (etcdPort: number): object => ({
  ...{ apiVersion, kind: "Cluster", metadata: { name: "big", namespace } },
  spec: {
    ...{ image: imageName, imagePullPolicy: "Never" },
    etcd: { external: { endpoints: [`http://${nodeAddress}:${etcdPort}`] } },
    listeners: [{ name: "clients", type: "NodePort" }],
  },
});

const pool = {
  ...{ apiVersion, kind: "BrokerPool", metadata: { name: "main", namespace } },
  spec: {
    ...{ clusterRef: { name: "big" }, replicas: 3 },
    storage: { size: "1Gi", storageClassName: "manual" },
    template: { terminationGracePeriodSeconds: 30 },
  },
};

const topic = {
  ...{ apiVersion, kind: "Topic", metadata: { name: "orders", namespace } },
  spec: {
    ...{ clusterRef: { name: "big" }, partitions: 3, replicationFactor: 3 },
    config: { "min.insync.replicas": 2 },
  },
};

/** What nobody makes yet: a controller, and a Cluster that says where it is. */
const beginCluster = async (etcdPort: number): Promise<void> => {
  await create(...kinds.map((kind) => customResourceDefinition(kind)));
  const names = kinds.map(({ plural }) => `crd/${plural}.millrace.dev`);
  await kubectl("wait", "--for=condition=Established", ...names, "--timeout=60s");
  await create(...[0, 1, 2, 3, 4].map(volume), headless, controller(etcdPort));
  await kubectl("wait", "--for=condition=Ready", "pod/controller", "--timeout=60s");
  const ip = await kubectl("get", "pod", "controller", "-o", "jsonpath={.status.podIP}");
  await create(cluster(etcdPort));
  const bootstrap = `${ip}:7400`;
  const status = { image: imageName, listeners: [{ name: "clients", bootstrap }] };
  const patch = JSON.stringify({ status });
  await kubectl("patch", "cluster/big", "--subresource=status", "--type=merge", "-p", patch);
};

const getPool = async (): Promise<BrokerPool> =>
  JSON.parse(await kubectl("get", "brokerpool/main", "-o", "json"));

/** Ready, for what its spec says now. */
const settled = async (replicas: number): Promise<boolean> => {
  const { metadata, status } = await getPool();
  const ready = status?.conditions?.find(({ type }) => type === "Ready");
  return (
    ready?.status === "True" &&
    status?.observedGeneration === metadata.generation &&
    status?.updatedReplicas === replicas &&
    status.replicas === replicas
  );
};

const podUids = async (): Promise<readonly string[]> => {
  const selector = "app.kubernetes.io/component=broker";
  const path = "jsonpath={.items[*].metadata.uid}";
  return (await kubectl("get", "pods", "-l", selector, "-o", path)).split(" ");
};

/** Sends numbers one after the other until it is stopped; returns those that were acknowledged. */
const sendAll = async (client: Client, signal: AbortSignal): Promise<number[]> => {
  const producer = client.producer();
  const acked: number[] = [];
  for (let i = 0; !signal.aborted; i += 1) {
    await producer.send({ topic: "orders", key: `${i % 50}`, value: `${i}` });
    acked.push(i);
  }
  await producer.close();
  return acked;
};

const readAll = async (client: Client): Promise<number[]> => {
  const numbers: number[] = [];
  const consumer = client.consumer({ topic: "orders", from: "earliest", untilEnd: true });
  for await (const record of consumer.records()) numbers.push(Number(record.text()));
  return numbers.sort((a, b) => a - b);
};

const startOperator = (): ChildProcess => {
  const kubeconfig = join(clusterDirectory, "kubeconfig");
  const flags = ["--kubeconfig", kubeconfig, "--http-listen", "127.0.0.1:0"];
  return spawn(process.execPath, [main, ...flags], { stdio: ["ignore", "inherit", "inherit"] });
};

test("brokers are made, rolled, added and drained under load, and nothing is lost", {
  skip: (skipReason ?? false) || etcdSkipped,
  timeout: 600_000,
}, async () => {
  const { file } = await makeServerImage(join(directory, "image.tar"));
  await withCluster(async () => {
    await importImages(file, clusterDirectory);
    const etcd = await Etcd.start({ hosts: [nodeAddress] });
    await beginCluster(etcd.clientPort);
    const operator = startOperator();
    try {
      await create(pool, topic);
      await until("three brokers", 120, () => settled(3));
      await kubectl("wait", "--for=condition=Ready", "topic/orders", "--timeout=60s");
      const told = await kubectl("get", "brokers", "-o", "jsonpath={.items[*].status.address}");
      await using client = await connect({ bootstrap: told.split(" ") });
      const stop = new AbortController();
      const sending = sendAll(client, stop.signal);
      const before = await podUids();
      const config = JSON.stringify({ spec: { config: { "checkpoint-interval": 30_000 } } });
      await kubectl("patch", "brokerpool/main", "--type=merge", "-p", config);
      await until("all are rolled", 180, () => settled(3));
      const rolled = await podUids();
      assert.ok(before.every((uid) => !rolled.includes(uid)));
      await kubectl("scale", "brokerpool/main", "--replicas=4");
      await until("a fourth broker", 90, () => settled(4));
      await kubectl("scale", "brokerpool/main", "--replicas=3");
      await until("the fourth has gone", 120, () => settled(3));
      stop.abort();
      const acked = await sending;
      const found = await readAll(client);
      assert.ok(acked.length > 100, `${acked.length} records`);
      assert.deepEqual(found, acked);
    } finally {
      console.log(await kubectl("get", "brokerpools,brokers,pods,pvc,topics", "-o", "wide"));
      operator.kill("SIGTERM");
      await once(operator, "exit");
      await etcd.remove();
      rmSync(volumes, { recursive: true, force: true });
    }
  });
});

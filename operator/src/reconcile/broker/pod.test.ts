import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Cluster } from "../../api/index.ts";
import { addressOf, addressProblem, serviceOf } from "./address.ts";
import { hashesOf, podOf } from "./objects.ts";
import { waitForRack } from "./pod.ts";
import { broker, cluster, pool } from "./testing/samples.ts";

interface Container {
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

type Spec = Cluster["spec"];

const of = (spec: Partial<Spec>): Cluster => ({ ...cluster, spec: { ...cluster.spec, ...spec } });

const containerOf = (one: Cluster, more = pool()): Container => {
  const made = podOf({ cluster: one, pool: more }, broker(), "millrace:1", "c-broker-1:7400");
  return made.spec.containers?.[0] as Container;
};

const variables = (one: Cluster, more = pool()): Record<string, string | undefined> =>
  Object.fromEntries(containerOf(one, more).env.map(({ name, value }) => [name, value]));

test("a pod has its number, its addresses, its store and its settings", () => {
  const config = { "journal-file-bytes": 67_108_864 };
  const settings = { brokers: { config: { "open-files-max": 99, "journal-file-bytes": 1 } } };
  const found = variables(of(settings), pool({ config }));
  const { MILLRACE_BROKER_ID: id, MILLRACE_ETCD_ENDPOINTS: store } = found;
  assert.deepEqual([id, store], ["1", "c-etcd.n.svc:2379"]);
  assert.equal(found["MILLRACE_INTERNAL_ADVERTISE"], "c-broker-1.c-brokers.n.svc:7401");
  assert.equal(found["MILLRACE_ADVERTISE"], "c-broker-1:7400");
  assert.equal(found["MILLRACE_JOURNAL_FILE_BYTES"], "67108864");
  assert.equal(found["MILLRACE_OPEN_FILES_MAX"], "99");
});

test("an external etcd is reached as the Cluster says, with files of its Secrets", () => {
  const external = {
    ...{ endpoints: ["https://a:2379", "https://b:2379"], prefix: "/events/" },
    tls: { caSecretName: "ca", clientSecretName: "client", serverName: "etcd" },
    credentialsSecretName: "user",
  };
  const one = of({ etcd: { external } });
  const found = variables(one);
  assert.equal(found["MILLRACE_ETCD_ENDPOINTS"], "https://a:2379,https://b:2379");
  assert.equal(found["MILLRACE_ETCD_PREFIX"], "/events/");
  assert.equal(found["MILLRACE_ETCD_CA_FILE"], "/etc/millrace/etcd/ca/ca.crt");
  const mounts = containerOf(one).volumeMounts.map(({ name }) => name);
  assert.deepEqual(mounts, ["data", "tmp", "etcd-ca", "etcd-client", "etcd-user"]);
});

test("a pod of a pool with racks waits until it is told its own", () => {
  const racks = pool({ rack: { topologyKey: "zone" } });
  const { spec } = podOf({ cluster, pool: racks }, broker(), "millrace:1", "a:1");
  assert.deepEqual(spec.initContainers?.length, 1);
  assert.ok("MILLRACE_RACK" in variables(cluster, racks));
  assert.ok(!("MILLRACE_RACK" in variables(cluster)));
});

test("what waits for the rack ends once the file has it", async () => {
  const directory = mkdtempSync(join(tmpdir(), "rack-"));
  const path = join(directory, "rack");
  try {
    writeFileSync(path, "");
    const waiting = spawn(process.execPath, ["-e", waitForRack(path)], { stdio: "inherit" });
    const ended = once(waiting, "exit");
    writeFileSync(path, "a");
    assert.deepEqual(await ended, [0, null]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("hashes change with what they are about, and with nothing else", () => {
  const hashes = (one: Cluster, more = pool()) => hashesOf({ cluster: one, pool: more }, 1, "i");
  const before = hashes(cluster);
  const known = { ...cluster, status: { clusterId: "x" } };
  assert.deepEqual(hashes(known), before);
  assert.deepEqual(hashes(cluster, pool({ replicas: 9, cordoned: true })), before);
  const settings = hashes(cluster, pool({ config: { "open-files-max": 99 } }));
  assert.equal(settings.podTemplateHash, before.podTemplateHash);
  assert.notEqual(settings.configHash, before.configHash);
  const image = hashes(of({ image: "millrace:2" }));
  assert.notEqual(image.podTemplateHash, before.podTemplateHash);
  assert.equal(image.configHash, before.configHash);
  const graceful = pool({ template: { terminationGracePeriodSeconds: 60 } });
  assert.notEqual(hashes(cluster, graceful).podTemplateHash, before.podTemplateHash);
  const labelled = { terminationGracePeriodSeconds: 120, labels: { team: "a" } };
  assert.deepEqual(hashes(cluster, pool({ template: labelled })), before);
});

const listening = (more: Partial<NonNullable<Spec["listeners"]>[number]>): Cluster =>
  of({ listeners: [{ name: "clients", type: "Internal", port: 9000, ...more }] });

const about = { name: "c-broker-1", labels: {} };

test("clients within reach the pod; those outside reach a Service", () => {
  const inside = listening({});
  assert.equal(serviceOf(inside, broker(), about), undefined);
  assert.equal(addressOf(inside, 1, "pod", undefined), "pod:9000");
  const nodes = listening({ type: "NodePort" });
  const service = serviceOf(nodes, broker(), about) ?? assert.fail("no Service");
  assert.equal(addressOf(nodes, 1, "pod", service), undefined);
  const [port] = service.spec.ports;
  assert.ok(port !== undefined);
  const known = { ...service, spec: { ...service.spec, ports: [{ ...port, nodePort: 30_001 }] } };
  assert.equal(addressOf(nodes, 1, "pod", known), "$(MILLRACE_HOST_IP):30001");
  const named = listening({ type: "NodePort", hostTemplate: "{role}-{id}.example.com" });
  assert.equal(addressOf(named, 1, "pod", known), "broker-1.example.com:30001");
  const addresses = [{ role: "Broker", id: 1, host: "b", port: 443 }] as const;
  assert.equal(addressOf(listening({ type: "NodePort", addresses }), 1, "pod", known), "b:443");
});

test("clients of a load balancer are told its address once it has one", () => {
  const one = listening({ type: "LoadBalancer" });
  const service = serviceOf(one, broker(), about) ?? assert.fail("no Service");
  assert.equal(addressOf(one, 1, "pod", service), undefined);
  const ingress = [{ ip: "203.0.113.7" }];
  const known = { ...service, status: { loadBalancer: { ingress } } };
  assert.equal(addressOf(one, 1, "pod", known), "203.0.113.7:9000");
});

test("an address of nodes that cannot be had is told, with what to do", () => {
  const one = listening({ type: "NodePort", nodeAddressType: "ExternalIP" });
  assert.match(addressProblem(one, 1) ?? "", /not by ExternalIP: set hostTemplate of listener/);
  assert.equal(addressProblem(listening({ type: "NodePort" }), 1), undefined);
});

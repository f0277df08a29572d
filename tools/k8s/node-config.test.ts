import assert from "node:assert/strict";
import { test } from "node:test";
import * as config from "./node-config.ts";

const place: config.NodePlace = {
  directory: "/var/lib/one",
  pki: "/var/lib/one/pki",
  runc: "/usr/sbin/runc",
  cniPlugins: "/usr/lib/cni",
  filesMax: 20_000,
  ports: {
    ...{ kubelet: 4001, kubeletHealth: 4002, proxyHealth: 4003, proxyMetrics: 4004 },
    ...{ controllerManager: 4005, scheduler: 4006, dns: 4007 },
  },
};

test("containerd keeps everything in the directory", () => {
  const text = config.containerdConfig(place);
  for (const line of [
    ...['root = "/var/lib/one/containerd"', 'address = "/var/lib/one/containerd.sock"'],
    ...['path = "/var/lib/one/opt"', 'conf_dir = "/var/lib/one/cni"'],
    ...['bin_dir = "/usr/lib/cni"', 'BinaryName = "/usr/sbin/runc"'],
    ...['sandbox_image = "localhost/pause:1"', "restrict_oom_score_adj = true"],
  ]) {
    assert.ok(text.includes(line), line);
  }
});

test("pods get their addresses on the bridge", () => {
  const { name, plugins } = JSON.parse(config.cniConfig(place));
  assert.equal(name, config.bridge);
  // Longer names of links are refused by Linux.
  assert.ok(config.bridge.length <= 15);
  assert.equal(plugins[0].ipam.dataDir, "/var/lib/one/ipam");
  assert.deepEqual(plugins[0].ipam.ranges, [[{ subnet: "10.244.0.0/24" }]]);
});

test("kubelet writes into the directory, and asks the API server who may ask", () => {
  const settings = JSON.parse(config.kubeletConfig(place));
  assert.equal(settings.containerRuntimeEndpoint, "unix:///var/lib/one/containerd.sock");
  assert.equal(settings.podLogsDir, "/var/lib/one/pod-logs");
  assert.equal(settings.volumePluginDir, "/var/lib/one/volume-plugins");
  assert.deepEqual(settings.authentication.anonymous, { enabled: false });
  assert.deepEqual(settings.authorization, { mode: "Webhook" });
  assert.equal(settings.maxOpenFiles, 20_000);
  assert.deepEqual([settings.port, settings.healthzPort], [4001, 4002]);
  assert.ok(config.kubeletFlags(place).includes("--root-dir=/var/lib/one/kubelet"));
});

test("no part listens for the machine's neighbours", () => {
  const all = [
    ...config.controllerManagerFlags(place),
    ...[...config.schedulerFlags(place), ...config.proxyFlags(place)],
    ...[config.kubeletConfig(place), config.dnsConfig(4007, "/var/lib/one/kubeconfig")],
  ];
  assert.ok(!all.some((text) => text.includes("0.0.0.0") || text.includes("[::]")));
  assert.equal(all.filter((flag) => flag.startsWith("--bind-address=127.0.0.1")).length, 2);
});

test("every part has a port of its own", () => {
  const text = [
    ...config.controllerManagerFlags(place),
    ...[...config.schedulerFlags(place), ...config.proxyFlags(place)],
    ...[config.kubeletConfig(place), config.dnsConfig(place.ports.dns, "/k")],
  ].join("\n");
  for (const port of Object.values(place.ports)) assert.equal(text.split(String(port)).length, 2);
});

test("DNS is a Service with one endpoint, a process of the machine", () => {
  const { endpoints, service } = config.dnsObjects(4007);
  assert.equal(service.spec.clusterIP, config.dnsAddress);
  assert.deepEqual(
    service.spec.ports.map(({ port, protocol }) => `${port}/${protocol}`),
    ["53/UDP", "53/TCP"],
  );
  assert.equal(endpoints.metadata.labels["kubernetes.io/service-name"], service.metadata.name);
  assert.deepEqual(
    endpoints.ports.map(({ name, port }) => [name, port]),
    service.spec.ports.map(({ name }) => [name, 4007]),
  );
  assert.deepEqual(endpoints.endpoints[0]?.addresses, [config.nodeAddress]);
});

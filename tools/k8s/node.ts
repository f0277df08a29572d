/** One node: a bridge, containerd, kubelet, kube-proxy and coredns, beside the control plane. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { programAt, run, runOrNothing, systemPath } from "../programs.ts";
import { AdminApi } from "./admin-api.ts";
import { kubernetesPrograms } from "./build.ts";
import { kubeconfigOf, type Subject } from "./certificates.ts";
import type { ControlPlane, Launcher } from "./control-plane.ts";
import { importImages, packPauseImage } from "./images.ts";
import { cniPlugins } from "./machine.ts";
import * as config from "./node-config.ts";
import { freePorts } from "./ports.ts";
import { type Launched, waitUntil } from "./processes.ts";

const startMsMax = 120_000;

/** Certificates of the parts of a node and of the control plane. */
export const nodeSubjects: readonly Subject[] = [
  { name: "controller-manager", subject: "/CN=system:kube-controller-manager" },
  { name: "scheduler", subject: "/CN=system:kube-scheduler" },
  { name: "proxy", subject: "/CN=system:kube-proxy" },
  {
    name: config.nodeName,
    subject: `/O=system:nodes/CN=system:node:${config.nodeName}`,
    serves: [`DNS:${config.nodeName}`, "IP:127.0.0.1", `IP:${config.nodeAddress}`],
  },
];

export interface NodeOptions {
  readonly directory: string;
  readonly launch: Launcher;
  readonly signal?: AbortSignal | undefined;
}

/** The API server listens on the address of this bridge. */
export const makeBridge = async (): Promise<void> => {
  const { bridge, bridgeAddress } = config;
  await run("ip", ["link", "add", bridge, "type", "bridge"]);
  await run("ip", ["address", "add", bridgeAddress, "dev", bridge]);
  await run("ip", ["link", "set", bridge, "up"]);
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
};

const filesMax = (): number => {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const [, hard = ""] = /^Max open files\s+\S+\s+(\d+)/m.exec(limits) ?? [];
  return Math.min(1_000_000, Number(hard) || 1_000_000);
};

/** Installed programs, and ports that are free. */
export const nodePlace = async (directory: string): Promise<config.NodePlace> => {
  const [runc, plugins] = [programAt("runc"), cniPlugins()];
  if (runc === undefined || plugins === undefined) {
    throw new Error("runc or the plugins of CNI are not installed: run `npm run k8s:up` as root");
  }
  const local = await freePorts(5);
  const [kubelet = 0, dns = 0] = await freePorts(2, config.nodeAddress);
  const [kubeletHealth = 0, proxyHealth = 0, proxyMetrics = 0, manager = 0, scheduler = 0] = local;
  const ports = { kubelet, dns, kubeletHealth, proxyHealth, proxyMetrics, scheduler };
  return {
    ...{ directory, runc, cniPlugins: plugins, filesMax: filesMax() },
    ...{ pki: join(directory, "pki"), ports: { ...ports, controllerManager: manager } },
  };
};

/** Starts containerd, and gives it the image that every pod needs. */
export const startContainerd = async (
  place: config.NodePlace,
  { directory, launch, signal }: NodeOptions,
): Promise<Launched> => {
  mkdirSync(join(directory, "cni"), { recursive: true });
  writeFileSync(join(directory, "cni", "10-bridge.conflist"), config.cniConfig(place));
  const file = join(directory, "containerd.toml");
  writeFileSync(file, config.containerdConfig(place));
  const program = programAt("containerd") ?? "containerd";
  const env = { PATH: systemPath() };
  const containerd = await launch({ name: "containerd", program, args: ["-c", file], env });
  const socket = config.containerdSocket(directory);
  const ctr = programAt("ctr") ?? "ctr";
  await waitUntil(
    async () => (await runOrNothing(ctr, ["-a", socket, "version"])).includes("Server:"),
    { what: "containerd answers", deadlineMs: startMsMax, processes: [containerd], signal },
  );
  const tar = join(directory, "pause.tar");
  await packPauseImage(tar);
  await importImages(tar, directory);
  return containerd;
};

const startParts = async (
  place: config.NodePlace,
  controlPlane: ControlPlane,
  { directory, launch }: NodeOptions,
): Promise<Launched[]> => {
  const names = ["kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"] as const;
  const programs = kubernetesPrograms([...names, "coredns"]);
  const { kubeconfig, pki, url } = controlPlane;
  for (const { name } of nodeSubjects) {
    const file = join(pki, `${name}.kubeconfig`);
    writeFileSync(file, kubeconfigOf(pki, name, url), { mode: 0o600 });
  }
  writeFileSync(join(directory, "kubelet.json"), config.kubeletConfig(place));
  const corefile = join(directory, "Corefile");
  writeFileSync(corefile, config.dnsConfig(place.ports.dns, kubeconfig));
  const env = { PATH: systemPath() };
  const args = {
    "kube-controller-manager": config.controllerManagerFlags(place),
    "kube-scheduler": config.schedulerFlags(place),
    kubelet: config.kubeletFlags(place),
    "kube-proxy": config.proxyFlags(place),
    coredns: ["-conf", corefile],
  };
  const started: Launched[] = [];
  for (const name of [...names, "coredns"] as const) {
    started.push(await launch({ name, program: programs[name], args: args[name], env }));
  }
  return started;
};

const isNodeReady = async (api: AdminApi): Promise<boolean> => {
  const { body, status } = await api.send("GET", `/api/v1/nodes/${config.nodeName}`);
  if (status !== 200) return false;
  const { conditions = [] }: { conditions?: { type: string; status: string }[] } =
    JSON.parse(body).status;
  return conditions.some((one) => one.type === "Ready" && one.status === "True");
};

/** Starts what runs beside an API server, and waits until pods can be made. */
export const startNode = async (
  place: config.NodePlace,
  controlPlane: ControlPlane,
  options: NodeOptions,
): Promise<void> => {
  const { url, pki } = controlPlane;
  const processes = [
    ...controlPlane.processes,
    ...(await startParts(place, controlPlane, options)),
  ];
  const api = new AdminApi(url, pki);
  const { endpoints, service } = config.dnsObjects(place.ports.dns);
  await api.create("/api/v1/namespaces/kube-system/services", service);
  const slices = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices";
  await api.create(slices, endpoints);
  const wait = { deadlineMs: startMsMax, processes, signal: options.signal };
  await waitUntil(() => isNodeReady(api), { ...wait, what: "the node is ready" });
  const account = "/api/v1/namespaces/default/serviceaccounts/default";
  await waitUntil(() => api.exists(account), { ...wait, what: "pods have an account" });
};

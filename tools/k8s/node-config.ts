/** What the parts of a node are configured with. Pure: renders text from places and ports. */
import { join } from "node:path";

/** One bridge, one node, everything on its address: reachable from pods, not from outside. */
export const bridge = "millrace-k8s0";
export const nodeName = "node-0";
export const nodeAddress = "10.244.0.1";
const podNetwork = "10.244.0.0/24";
export const bridgeAddress = `${nodeAddress}/24`;
export const dnsAddress = "10.96.0.10";
export const pauseImage = "localhost/pause:1";

export interface NodePlace {
  readonly directory: string;
  readonly pki: string;
  readonly runc: string;
  /** Where the plugins of CNI are. */
  readonly cniPlugins: string;
  /** Hard limit of open files. */
  readonly filesMax: number;
  readonly ports: NodePorts;
}

export interface NodePorts {
  readonly kubelet: number;
  readonly kubeletHealth: number;
  readonly proxyHealth: number;
  readonly proxyMetrics: number;
  readonly controllerManager: number;
  readonly scheduler: number;
  readonly dns: number;
}

export const containerdSocket = (directory: string): string => join(directory, "containerd.sock");

/** Root, state and socket of its own, so that no other containerd is touched. */
export const containerdConfig = ({ cniPlugins, directory, runc }: NodePlace): string => `version = 2
root = "${join(directory, "containerd")}"
state = "${join(directory, "containerd-state")}"
[grpc]
  address = "${containerdSocket(directory)}"
[plugins."io.containerd.internal.v1.opt"]
  path = "${join(directory, "opt")}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseImage}"
  # Pods start also where root may not lower the score of the killer of processes.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "${runc}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${cniPlugins}"
    conf_dir = "${join(directory, "cni")}"
`;

export const cniConfig = ({ directory }: NodePlace): string => {
  const ipam = {
    type: "host-local",
    dataDir: join(directory, "ipam"),
    ranges: [[{ subnet: podNetwork }]],
    routes: [{ dst: "0.0.0.0/0" }],
  };
  const flags = { isGateway: true, ipMasq: true, hairpinMode: true };
  return JSON.stringify({
    cniVersion: "1.0.0",
    name: bridge,
    plugins: [
      { type: "bridge", bridge, ...flags, ipam },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  });
};

/** In JSON, which is YAML. */
export const kubeletConfig = ({ directory, filesMax, pki, ports }: NodePlace): string =>
  JSON.stringify({
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    // Also where the machine has the first version of cgroups.
    failCgroupV1: false,
    cgroupDriver: "cgroupfs",
    failSwapOn: false,
    containerRuntimeEndpoint: `unix://${containerdSocket(directory)}`,
    address: nodeAddress,
    port: ports.kubelet,
    healthzBindAddress: "127.0.0.1",
    healthzPort: ports.kubeletHealth,
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: join(pki, "ca.crt") },
    },
    authorization: { mode: "Webhook" },
    tlsCertFile: join(pki, `${nodeName}.crt`),
    tlsPrivateKeyFile: join(pki, `${nodeName}.key`),
    clusterDNS: [dnsAddress],
    clusterDomain: "cluster.local",
    resolvConf: "",
    // Root may not be allowed to lower it.
    oomScoreAdj: 0,
    maxOpenFiles: filesMax,
    // It would leave chains in the machine's own rules.
    makeIPTablesUtilChains: false,
    // Directories that would otherwise be outside of ours.
    podLogsDir: join(directory, "pod-logs"),
    volumePluginDir: join(directory, "volume-plugins"),
    evictionHard: {
      "memory.available": "100Mi",
      "nodefs.available": "2%",
      "imagefs.available": "2%",
    },
    // Images are imported by hand and would be missed.
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    nodeStatusUpdateFrequency: "4s",
  });

/** DNS for Services and pods; nothing is forwarded. */
export const dnsConfig = (port: number, kubeconfig: string): string => `.:${port} {
  bind ${nodeAddress}
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig ${kubeconfig}
    pods insecure
    ttl 5
  }
  cache 5
}
`;

const kubeconfigFlags = (pki: string, user: string): string[] =>
  ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"].map(
    (flag) => `--${flag}=${join(pki, `${user}.kubeconfig`)}`,
  );

export const controllerManagerFlags = ({ directory, pki, ports }: NodePlace): string[] => [
  ...kubeconfigFlags(pki, "controller-manager"),
  ...["--bind-address=127.0.0.1", `--secure-port=${ports.controllerManager}`],
  `--service-account-private-key-file=${join(pki, "sa.key")}`,
  `--root-ca-file=${join(pki, "ca.crt")}`,
  `--cluster-signing-cert-file=${join(pki, "ca.crt")}`,
  `--cluster-signing-key-file=${join(pki, "ca.key")}`,
  ...["--use-service-account-credentials=true", "--allocate-node-cidrs=false"],
  ...["--leader-elect=false", `--flex-volume-plugin-dir=${join(directory, "volume-plugins")}`],
];

export const schedulerFlags = ({ pki, ports }: NodePlace): string[] => [
  ...kubeconfigFlags(pki, "scheduler"),
  ...["--bind-address=127.0.0.1", `--secure-port=${ports.scheduler}`, "--leader-elect=false"],
];

export const kubeletFlags = ({ directory, pki }: NodePlace): string[] => [
  `--config=${join(directory, "kubelet.json")}`,
  `--kubeconfig=${join(pki, `${nodeName}.kubeconfig`)}`,
  ...[`--hostname-override=${nodeName}`, `--node-ip=${nodeAddress}`],
  `--root-dir=${join(directory, "kubelet")}`,
  `--cert-dir=${join(directory, "kubelet", "pki")}`,
];

/** It leaves the machine's limits of tracked connections alone. */
export const proxyFlags = ({ pki, ports }: NodePlace): string[] => [
  `--kubeconfig=${join(pki, "proxy.kubeconfig")}`,
  ...[`--hostname-override=${nodeName}`, "--proxy-mode=nftables", "--cluster-cidr=10.244.0.0/16"],
  ...["--conntrack-max-per-core=0", "--conntrack-min=0"],
  ...["--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0"],
  `--healthz-bind-address=127.0.0.1:${ports.proxyHealth}`,
  `--metrics-bind-address=127.0.0.1:${ports.proxyMetrics}`,
];

/** The Service of DNS, and the one endpoint behind it: a process of the machine. */
export const dnsObjects = (port: number) => {
  const ports = (at: number) =>
    (["UDP", "TCP"] as const).map((protocol) => ({
      name: protocol === "UDP" ? "dns" : "dns-tcp",
      port: at,
      protocol,
    }));
  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "kube-dns", namespace: "kube-system" },
    spec: { clusterIP: dnsAddress, ports: ports(53) },
  };
  const endpoints = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: "kube-dns-host",
      namespace: "kube-system",
      labels: { "kubernetes.io/service-name": "kube-dns" },
    },
    addressType: "IPv4",
    ports: ports(port),
    endpoints: [{ addresses: [nodeAddress], conditions: { ready: true } }],
  };
  return { service, endpoints };
};

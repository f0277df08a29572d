/** etcd and an API server of Kubernetes: for tests on free ports, and for a whole cluster. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { etcdPrograms } from "../etcd/build.ts";
import { AdminApi } from "./admin-api.ts";
import { kubernetesPrograms } from "./build.ts";
import { kubeconfigOf, makeCertificates, type Subject } from "./certificates.ts";
import { freePorts, listens } from "./ports.ts";
import {
  type Command,
  endProcess,
  type Launched,
  launch,
  type ProcessIdentity,
  waitUntil,
} from "./processes.ts";

const loopback = "127.0.0.1";
export const serviceNetwork = "10.96.0.0/16";
/** The first address of Services is the API server's own. */
const serviceAddress = "10.96.0.1";

const startMsMax = 120_000;
const apiServerPatienceMs = 10_000;
const etcdPatienceMs = 5_000;
/** Between the choice of a port and its use another process may take it. */
const attempts = 3;

/** Starts a command; whoever gives it may note down what was started. */
export type Launcher = (command: Command) => Promise<Launched>;

export interface ControlPlaneOptions {
  /** For certificates, data, logs and the kubeconfig. Made where it is missing. */
  readonly directory: string;
  /** Where the API server listens. */
  readonly address: string;
  /** Certificates besides the API server's and its administrator's. */
  readonly subjects: readonly Subject[];
  readonly launch: Launcher;
  readonly signal?: AbortSignal | undefined;
}

export interface ControlPlane {
  readonly url: string;
  /** Path of an administrator's kubeconfig. */
  readonly kubeconfig: string;
  readonly pki: string;
  /** The API server before its etcd: the order in which they have to end. */
  readonly processes: readonly [apiServer: Launched, etcd: Launched];
}

export interface EtcdPlace {
  readonly directory: string;
  readonly clientPort: number;
  readonly peerPort: number;
}

export const etcdFlags = ({ clientPort, directory, peerPort }: EtcdPlace): string[] => {
  const [client, peer] = [clientPort, peerPort].map((port) => `http://${loopback}:${port}`);
  return [
    ...[`--data-dir=${join(directory, "etcd")}`, "--name=default", "--unsafe-no-fsync"],
    ...[`--listen-client-urls=${client}`, `--advertise-client-urls=${client}`],
    ...[`--listen-peer-urls=${peer}`, `--initial-advertise-peer-urls=${peer}`],
    ...[`--initial-cluster=default=${peer}`, "--log-level=warn"],
  ];
};

export interface ApiServerPlace {
  readonly pki: string;
  readonly address: string;
  readonly port: number;
  readonly etcdPort: number;
}

export const apiServerFlags = ({ address, etcdPort, pki, port }: ApiServerPlace): string[] => {
  const at = (file: string): string => join(pki, file);
  return [
    ...[`--etcd-servers=http://${loopback}:${etcdPort}`, `--bind-address=${address}`],
    ...[`--secure-port=${port}`, `--advertise-address=${address}`],
    ...[`--service-cluster-ip-range=${serviceNetwork}`, `--client-ca-file=${at("ca.crt")}`],
    `--tls-cert-file=${at("apiserver.crt")}`,
    `--tls-private-key-file=${at("apiserver.key")}`,
    `--service-account-key-file=${at("sa.pub")}`,
    `--service-account-signing-key-file=${at("sa.key")}`,
    ...["--service-account-issuer=https://kubernetes.default.svc"],
    ...["--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"],
    // For logs and commands of pods.
    ...[`--kubelet-client-certificate=${at("admin.crt")}`],
    ...[`--kubelet-client-key=${at("admin.key")}`],
    ...[`--kubelet-certificate-authority=${at("ca.crt")}`],
    ...["--kubelet-preferred-address-types=InternalIP", "--allow-privileged=true"],
  ];
};

const runEtcd = async (options: ControlPlaneOptions, clientPort: number, peerPort: number) => {
  const { directory, signal } = options;
  const args = etcdFlags({ directory, clientPort, peerPort });
  const etcd = await options.launch({ name: "etcd", program: join(etcdPrograms(), "etcd"), args });
  const wait = { what: "etcd listens", deadlineMs: startMsMax, processes: [etcd], signal };
  await waitUntil(() => listens(etcd.pid, clientPort), wait);
  return etcd;
};

const subjectsOf = (address: string, others: readonly Subject[]): Subject[] => {
  const names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];
  const full = [...names, "kubernetes.default.svc.cluster.local"];
  const addresses = [...new Set([loopback, address, serviceAddress])];
  const serves = [...full.map((one) => `DNS:${one}`), ...addresses.map((one) => `IP:${one}`)];
  return [
    { name: "apiserver", subject: "/CN=kube-apiserver", serves },
    { name: "admin", subject: "/O=system:masters/CN=admin" },
    ...others,
  ];
};

/** Starts both, and waits until the API server is ready. */
export const runControlPlane = async (options: ControlPlaneOptions): Promise<ControlPlane> => {
  const { address, directory, signal } = options;
  const pki = join(directory, "pki");
  const program = kubernetesPrograms(["kube-apiserver"])["kube-apiserver"];
  makeCertificates(pki, subjectsOf(address, options.subjects));
  // What an etcd of other certificates and ports has left.
  rmSync(join(directory, "etcd"), { recursive: true, force: true });
  const [clientPort = 0, peerPort = 0] = await freePorts(2);
  const [port = 0] = await freePorts(1, address);
  const url = `https://${address}:${port}`;
  const kubeconfig = join(directory, "kubeconfig");
  writeFileSync(kubeconfig, kubeconfigOf(pki, "admin", url), { mode: 0o600 });
  const etcd = await runEtcd(options, clientPort, peerPort);
  const args = apiServerFlags({ pki, address, port, etcdPort: clientPort });
  const server = await options.launch({ name: "kube-apiserver", program, args });
  const processes = [server, etcd] as const;
  const wait = { what: "the API server is ready", deadlineMs: startMsMax, processes, signal };
  // Its certificate is new: nobody else can answer.
  const api = new AdminApi(url, pki);
  await waitUntil(() => api.isReady(), wait);
  return { url, kubeconfig, pki, processes };
};

/** Ends what was started last first: an API server without its etcd would wait for it. */
export const endControlPlane = async (processes: readonly ProcessIdentity[]): Promise<void> => {
  for (const one of processes.filter(({ name }) => name !== "etcd")) {
    await endProcess(one, apiServerPatienceMs);
  }
  for (const one of processes.filter(({ name }) => name === "etcd")) {
    await endProcess(one, etcdPatienceMs);
  }
};

export interface ApiServerOptions {
  /** For certificates, data, logs and the kubeconfig. Made where it is missing. */
  readonly directory: string;
  /** Gives up the start, and ends what has been started. */
  readonly signal?: AbortSignal;
}

export interface ApiServer {
  readonly url: string;
  /** Path of an administrator's kubeconfig. */
  readonly kubeconfig: string;
  stop(): Promise<void>;
}

/**
 * Starts etcd and an API server, on free ports of loopback, and waits until it is ready. They end
 * with this process's terminal, if not stopped before. What they say is in `logs` of the directory.
 */
export const startApiServer = async (options: ApiServerOptions): Promise<ApiServer> => {
  const { directory, signal } = options;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  for (let attempt = 1; ; attempt += 1) {
    const started: Launched[] = [];
    const launcher: Launcher = async (command) => {
      const log = join(directory, "logs", `${command.name}.log`);
      const one = await launch(command, { log, outlives: false });
      started.push(one);
      return one;
    };
    const stop = (): Promise<void> => endControlPlane(started);
    try {
      const all = { directory, address: loopback, subjects: [], launch: launcher, signal };
      const { kubeconfig, url } = await runControlPlane(all);
      return { url, kubeconfig, stop };
    } catch (thrown) {
      await stop();
      const isTaken = String(thrown).includes("address already in use");
      if (!isTaken || attempt === attempts || signal?.aborted === true) throw thrown;
    }
  }
};

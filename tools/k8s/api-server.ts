/** An API server of Kubernetes over an etcd that runs: what tests of definitions need. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { kubernetesPrograms } from "./build.ts";
import { kubeconfigOf, makeCertificates } from "./certificates.ts";

/** The first address of Services is the API server's own. */
const serviceNetwork = "10.96.0.0/16";
const serviceAddress = "10.96.0.1";
const startMsMax = 120_000;
const stopMsMax = 10_000;

export interface ApiServerOptions {
  /** For certificates, the kubeconfig and the log. Made where it is missing. */
  readonly directory: string;
  /** `http://HOST:PORT` of etcd, which no other API server uses. */
  readonly etcdEndpoint: string;
  readonly port: number;
  /** Where it listens; loopback by default. */
  readonly address?: string;
}

export interface ApiServer {
  readonly url: string;
  /** Path of an administrator's kubeconfig. */
  readonly kubeconfig: string;
  stop(): Promise<void>;
}

const flagsOf = ({ address, etcdEndpoint, port }: Required<ApiServerOptions>): string[] => [
  ...[`--etcd-servers=${etcdEndpoint}`, `--bind-address=${address}`, `--secure-port=${port}`],
  ...[`--advertise-address=${address}`, `--service-cluster-ip-range=${serviceNetwork}`],
  ...["--client-ca-file=ca.crt", "--tls-cert-file=apiserver.crt"],
  ...["--tls-private-key-file=apiserver.key", "--service-account-key-file=sa.pub"],
  ...["--service-account-signing-key-file=sa.key"],
  ...["--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=Node,RBAC"],
  ...["--enable-admission-plugins=NodeRestriction", "--allow-privileged=true"],
];

/** Whether it answers that it is ready, to its administrator. */
const isReady = (url: string, directory: string): Promise<boolean> =>
  new Promise((resolve) => {
    const read = (file: string): Buffer => readFileSync(join(directory, file));
    const tls = { ca: read("ca.crt"), cert: read("admin.crt"), key: read("admin.key") };
    const call = request(`${url}/readyz`, { ...tls, timeout: 2000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    call.on("timeout", () => call.destroy()).on("error", () => resolve(false));
    call.end();
  });

const stop = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  // It waits for its etcd, which may be gone.
  const timer = setTimeout(() => child.kill("SIGKILL"), stopMsMax);
  await gone;
  clearTimeout(timer);
};

/** Starts it, and waits until it is ready. What it says is in `apiserver.log` of the directory. */
export const startApiServer = async (options: ApiServerOptions): Promise<ApiServer> => {
  const all = { address: "127.0.0.1", ...options };
  const { address, directory, port } = all;
  const program = join(kubernetesPrograms(["kube-apiserver"]), "kube-apiserver");
  const names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];
  const addresses = [...new Set(["127.0.0.1", address, serviceAddress])];
  const serves = [...names.map((one) => `DNS:${one}`), ...addresses.map((one) => `IP:${one}`)];
  makeCertificates(directory, [
    { name: "apiserver", subject: "/CN=kube-apiserver", serves },
    { name: "admin", subject: "/O=system:masters/CN=admin" },
  ]);
  const url = `https://${address}:${port}`;
  const kubeconfig = join(directory, "kubeconfig");
  writeFileSync(kubeconfig, kubeconfigOf(directory, "admin", url), { mode: 0o600 });
  const log = openSync(join(directory, "apiserver.log"), "w");
  const child = spawn(program, flagsOf(all), { cwd: directory, stdio: ["ignore", log, log] });
  const deadline = performance.now() + startMsMax;
  while (!(await isReady(url, directory))) {
    if (child.exitCode !== null || performance.now() > deadline) {
      await stop(child);
      const said = readFileSync(join(directory, "apiserver.log"), "utf8").slice(-2000);
      throw new Error(`the API server does not start: ${said}`);
    }
    await sleep(100);
  }
  return { url, kubeconfig, stop: () => stop(child) };
};

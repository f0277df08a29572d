/** Whether a node of Kubernetes can run on this machine, and what it needs from its packages. */
import { spawnSync } from "node:child_process";
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { goVersion } from "../go-programs.ts";
import { programAt, systemPath } from "../programs.ts";
import { programNames, whyNot } from "./build.ts";

/** Where the plugins of CNI are installed, or undefined where they are not. */
export const cniPlugins = (): string | undefined =>
  ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"].find((directory) =>
    existsSync(join(directory, "bridge")),
  );

/** Packages of Debian by a program that each brings. */
const packages = {
  containerd: "containerd",
  runc: "runc",
  nftables: "nft",
  iptables: "iptables",
  iproute2: "ip",
  openssl: "openssl",
} as const;

/** The packages that are missing here. */
export const missingPackages = (): string[] => [
  ...Object.entries(packages)
    .filter(([, program]) => programAt(program) === undefined)
    .map(([name]) => name),
  ...(cniPlugins() === undefined ? ["containernetworking-plugins"] : []),
];

export interface Machine {
  readonly platform: string;
  readonly user: number;
  /** As Linux counts them, by bits. */
  readonly capabilities: bigint;
  readonly go: string | undefined;
  readonly missingPackages: readonly string[];
  readonly hasApt: boolean;
  /** Where another kubelet has left, or keeps, something. */
  readonly traces: readonly string[];
}

/** What a node cannot do without, by their bits. */
const capabilities = { CAP_NET_ADMIN: 12n, CAP_SYS_ADMIN: 21n } as const;

const apiOnly = "or start the API server alone: `npm run k8s:up -- --api-only`";

/** Why a whole cluster cannot run on this machine, and what to do; undefined where it can. */
export const whyNoCluster = (machine: Machine): string | undefined => {
  const { go, hasApt, platform, traces, user } = machine;
  if (platform !== "linux")
    return `a node needs Linux, and this is ${platform}: use one, ${apiOnly}`;
  if (user !== 0) return `a node needs root, and this is user ${user}: use sudo, ${apiOnly}`;
  for (const [name, bit] of Object.entries(capabilities)) {
    if ((machine.capabilities & (1n << bit)) !== 0n) continue;
    return `this root has no ${name}: leave the container, or make it privileged, ${apiOnly}`;
  }
  const build = whyNot(programNames, { go });
  if (build !== undefined) return build;
  if (machine.missingPackages.length > 0 && !hasApt) {
    const names = machine.missingPackages.join(", ");
    return `${names} are missing, and there is no apt-get: install them by other means, ${apiOnly}`;
  }
  if (traces.length === 0) return undefined;
  return `another kubelet has been here (${traces.join(", ")}): remove it, ${apiOnly}`;
};

const capabilitiesNow = (): bigint => {
  const [, hex = "0"] =
    /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return BigInt(`0x${hex}`);
};

const hasEntries = (directory: string): boolean =>
  existsSync(directory) && readdirSync(directory).length > 0;

/** Groups that a kubelet makes for its pods, at whatever version of cgroups. */
export const podGroups = (): string[] =>
  globSync(["/sys/fs/cgroup/kubepods", "/sys/fs/cgroup/*/kubepods"]);

export const lookAtMachine = (): Machine => {
  const onLinux = process.platform === "linux";
  return {
    platform: process.platform,
    user: process.getuid?.() ?? -1,
    capabilities: onLinux ? capabilitiesNow() : 0n,
    go: goVersion(),
    missingPackages: onLinux ? missingPackages() : [],
    hasApt: programAt("apt-get") !== undefined,
    traces: onLinux
      ? [...podGroups(), ...["/var/lib/kubelet", "/var/lib/cni"].filter(hasEntries)]
      : [],
  };
};

/** Installs what is missing, with apt-get, and says so. */
export const installPackages = (): void => {
  const missing = missingPackages();
  if (missing.length === 0) return;
  console.error(`Installing ${missing.join(", ")} with apt-get (they stay)…`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", PATH: systemPath() };
  const run = (...args: readonly string[]) =>
    spawnSync("apt-get", ["-q", ...args], {
      env,
      stdio: ["ignore", "ignore", 2],
      timeout: 600_000,
    });
  run("update");
  const done = run("install", "-y", "--no-install-recommends", ...missing);
  const still = missingPackages();
  if (done.status === 0 && still.length === 0) return;
  throw new Error(
    `apt-get has not installed ${still.join(", ")} (exit ${done.status}): install them by hand`,
  );
};

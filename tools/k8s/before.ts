/** How the machine was before a cluster: what `k8s:down` brings back. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../programs.ts";
import { tablesOf } from "./nft.ts";
import type { Before } from "./state.ts";

/** Written by kubelet, containerd's shims and CNI, wherever their own directories are. */
const fixedDirectories = [
  ...["/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers"],
  ...["/run/containerd", "/run/netns", "/opt/containerd", "/usr/libexec/kubernetes"],
];

/** Set by kubelet, kube-proxy and CNI. */
const sysctls = [
  ...["vm.overcommit_memory", "vm.panic_on_oom", "kernel.panic", "kernel.panic_on_oops"],
  ...["kernel.keys.root_maxkeys", "kernel.keys.root_maxbytes"],
  ...["net.ipv4.ip_forward", "net.ipv4.conf.all.route_localnet"],
  ...["net.ipv6.conf.all.forwarding", "net.bridge.bridge-nf-call-iptables"],
  ...["net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_tcp_be_liberal"],
  "net.netfilter.nf_conntrack_tcp_timeout_established",
  "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
];

export const networkNamespaces = "/run/netns";

/** The dots of an interface's name are slashes in none of ours. */
export const sysctlPath = (name: string): string => join("/proc/sys", name.replaceAll(".", "/"));

export const readSysctl = (name: string): string | undefined => {
  try {
    return readFileSync(sysctlPath(name), "utf8").trim();
  } catch {
    return undefined;
  }
};

export const lookBefore = async (): Promise<Before> => ({
  absentDirectories: fixedDirectories.filter((directory) => !existsSync(directory)),
  sysctls: Object.fromEntries(
    sysctls.flatMap((name) => {
      const value = readSysctl(name);
      return value === undefined ? [] : [[name, value]];
    }),
  ),
  networkNamespaces: existsSync(networkNamespaces) ? readdirSync(networkNamespaces) : [],
  nftTables: tablesOf(await run("nft", ["-j", "list", "tables"])),
});

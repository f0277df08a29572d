/** Ends and removes a cluster: what its notes say, and what such a cluster makes by itself. */
import {
  existsSync,
  globSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { programAt, run, runOrNothing } from "../programs.ts";
import { AdminApi } from "./admin-api.ts";
import { networkNamespaces, readSysctl, sysctlPath } from "./before.ts";
import { podGroups } from "./machine.ts";
import { removalsOf } from "./nft.ts";
import { bridge, containerdSocket } from "./node-config.ts";
import { endProcess, isRunning, type ProcessIdentity, startOf } from "./processes.ts";
import type { Before, State } from "./state.ts";

const podsMsMax = 30_000;
const patienceMs = 10_000;

/** Mount points at or below a directory, innermost first, of a table like `/proc/mounts`. */
export const mountsBelow = (table: string, directory: string): string[] =>
  table
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    // The kernel writes a blank as \040.
    .map((path) => path.replaceAll("\\040", " "))
    .filter((path) => path === directory || path.startsWith(`${directory}/`))
    .sort()
    .reverse();

const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
};

/** Deletes every pod by way of the API server, so that the node itself takes them down. */
const deletePods = async (directory: string, { processes, url }: State): Promise<void> => {
  const named = (name: string) => processes.find((one) => one.name === name);
  // Nothing makes new ones.
  for (const name of ["kube-controller-manager", "kube-scheduler"]) {
    const one = named(name);
    if (one !== undefined) await endProcess(one, patienceMs);
  }
  const needed = ["kube-apiserver", "etcd", "kubelet", "containerd"].map(named);
  if (url === undefined || needed.some((one) => one === undefined || !isRunning(one))) return;
  const api = new AdminApi(url, join(directory, "pki"));
  const { body, status } = await api.send("GET", "/api/v1/pods");
  if (status !== 200) return;
  const { items }: { items: { metadata: { name: string; namespace: string } }[] } =
    JSON.parse(body);
  for (const { metadata } of items) {
    const path = `/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}`;
    await api.send("DELETE", path, { gracePeriodSeconds: 1 });
  }
  const tasks = ["-a", containerdSocket(directory), "-n", "k8s.io", "tasks", "ls", "-q"];
  const deadline = performance.now() + podsMsMax;
  while ((await runOrNothing(programAt("ctr") ?? "ctr", tasks)).trim() !== "") {
    if (performance.now() > deadline) return;
    await sleep(300);
  }
};

const identityOf = (name: string, pid: number): ProcessIdentity[] => {
  const started = startOf(pid);
  return started === undefined ? [] : [{ name, pid, started }];
};

/** What has outlived its kubelet: containers, and the shims of our containerd and of no other. */
const endLeftovers = async (directory: string): Promise<void> => {
  const groups = podGroups().flatMap((group) => [group, ...globSync(`${group}/**/`)]);
  const pids = new Set(
    groups.flatMap((group) => read(join(group, "cgroup.procs")).split("\n").filter(Boolean)),
  );
  for (const pid of pids) {
    for (const one of identityOf("a container", Number(pid))) await endProcess(one, 0);
  }
  const socket = containerdSocket(directory);
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    const words = read(`/proc/${pid}/cmdline`).split("\0");
    if (!(words[0] ?? "").includes("containerd-shim") || !words.includes(socket)) continue;
    for (const one of identityOf("a shim", Number(pid))) await endProcess(one, 2000);
  }
};

/** Unmounts everything at and below a place. One may go with another that shares it. */
const unmountAll = async (place: string): Promise<void> => {
  const left = (): string[] => mountsBelow(read("/proc/mounts"), place);
  for (const path of left()) {
    await runOrNothing("umount", [path]);
    if (left().includes(path)) await runOrNothing("umount", ["--lazy", path]);
  }
  if (left().length === 0) return;
  throw new Error(`still mounted: ${left().join(", ")}: unmount it by hand`);
};

const removeNetwork = async (before: Before): Promise<void> => {
  if (existsSync(networkNamespaces)) {
    const ours = readdirSync(networkNamespaces).filter(
      (name) => name.startsWith("cni-") && !before.networkNamespaces.includes(name),
    );
    for (const name of ours) {
      const path = join(networkNamespaces, name);
      await unmountAll(path);
      rmSync(path, { force: true });
    }
  }
  const links = await runOrNothing("ip", ["-j", "link", "show", "master", bridge]);
  const members: { ifname: string }[] = links.trim() === "" ? [] : JSON.parse(links);
  // One end of a pair may be gone since.
  for (const { ifname } of members) await runOrNothing("ip", ["link", "delete", ifname]);
  await runOrNothing("ip", ["link", "delete", bridge]);
  const rules = await run("nft", ["-j", "list", "ruleset"]);
  for (const command of removalsOf(rules, before.nftTables)) await run("nft", command.split(" "));
};

const restoreSysctls = ({ sysctls }: Before): void => {
  for (const [name, value] of Object.entries(sysctls)) {
    if (readSysctl(name) !== value) writeFileSync(sysctlPath(name), value);
  }
};

/** A group is busy for a moment after its last process. */
const removeGroups = async (): Promise<void> => {
  const deadline = performance.now() + patienceMs;
  for (const group of podGroups()) {
    for (const path of [...globSync(`${group}/**/`), group].sort().reverse()) {
      while (existsSync(path)) {
        try {
          rmdirSync(path);
        } catch (thrown) {
          if (performance.now() > deadline) throw thrown;
          await sleep(100);
        }
      }
    }
  }
};

/** Whether others have come to use a directory since, which was not there before the cluster. */
export const hasOthers = (path: string, root = ""): boolean => {
  const here = join(root, path);
  // The socket of a containerd that is not told another place.
  if (path === "/run/containerd") return existsSync(join(here, "containerd.sock"));
  return path === networkNamespaces && existsSync(here) && readdirSync(here).length > 0;
};

const undoNode = async (directory: string, before: Before): Promise<void> => {
  await endLeftovers(directory);
  await unmountAll(directory);
  await removeNetwork(before);
  restoreSysctls(before);
  await removeGroups();
  for (const path of before.absentDirectories.filter((one) => !hasOthers(one))) {
    await unmountAll(path);
    rmSync(path, { recursive: true, force: true });
  }
};

/** Ends everything that the notes name, brings the machine back, and removes the directory. */
export const undo = async (directory: string, state: State): Promise<void> => {
  const { before, processes } = state;
  if (before !== undefined) await deletePods(directory, state);
  // An API server would wait for an etcd that has ended before it.
  for (const one of [...processes].reverse()) await endProcess(one, patienceMs);
  if (before !== undefined) await undoNode(directory, before);
  rmSync(directory, { recursive: true, force: true });
};

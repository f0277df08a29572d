/** What of a machine a cluster could leave behind, to compare before and after. */
import { execFileSync } from "node:child_process";
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { systemPath } from "../../tools/programs.ts";

export interface MachineSnapshot {
  /** Command lines of processes that belong to the cluster's directory, and pause processes. */
  readonly processes: readonly string[];
  readonly mounts: readonly string[];
  readonly networkNamespaces: readonly string[];
  readonly links: readonly string[];
  readonly routes: readonly string[];
  readonly rules: string;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly controlGroups: readonly string[];
  readonly directories: readonly string[];
}

const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
};

const output = (program: string, ...args: readonly string[]): string =>
  execFileSync(program, args, {
    encoding: "utf8",
    env: { ...process.env, PATH: systemPath() },
    timeout: 20_000,
  });

const processesOf = (directory: string): string[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim())
    .filter((line) => line.includes(directory) || line === "/pause");

/** Counters and random numbers. */
const volatile = new RegExp(
  [
    ...["random", "entropy", "_count$", "_nr$", "pty/nr", "last_pid", "loadavg", "dentry"],
    ...["stat_refresh", "tcp_fastopen_key", "perf_event_max_sample_rate"],
  ].join("|"),
);

const sysctls = (): Record<string, string> => {
  const values: Record<string, string> = {};
  const walk = (directory: string): void => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (volatile.test(path)) continue;
      if (entry.isDirectory()) walk(path);
      else values[path] = read(path).trim();
    }
  };
  for (const top of ["kernel", "net", "vm"]) walk(join("/proc/sys", top));
  return values;
};

const places = ["/etc", "/opt", "/run", "/usr/libexec", "/var/lib", "/var/log", "/var/run"];

export const snapshotOf = (directory: string): MachineSnapshot => {
  const links: { ifname: string }[] = JSON.parse(output("ip", "-j", "link"));
  return {
    processes: processesOf(directory),
    mounts: read("/proc/mounts").trim().split("\n").sort(),
    networkNamespaces: existsSync("/run/netns") ? readdirSync("/run/netns").sort() : [],
    links: links.map(({ ifname }) => ifname).sort(),
    routes: output("ip", "route").trim().split("\n").sort(),
    rules: output("nft", "list", "ruleset"),
    sysctls: sysctls(),
    controlGroups: globSync("/sys/fs/cgroup/**/").sort(),
    directories: places
      .filter((place) => existsSync(place))
      .flatMap((place) => readdirSync(place).map((name) => join(place, name)))
      .sort(),
  };
};

/**
 * A network of its own: the run goes on in namespaces for networks and mounts that end with it, so
 * that nothing of this machine changes, and that nothing has to be cleaned up.
 */
import { spawn, spawnSync } from "node:child_process";
import { etcdPrograms } from "../../tools/etcd/build.ts";

/** Set for the process inside. */
const marker = "MILLRACE_CHAOS_LABORATORY";
/** Named networks are files below it. */
const names = "/run/netns";

/** Without root, one that is root in a namespace for users does. */
const asRoot = process.getuid?.() === 0 ? [] : ["--map-root-user"];
const unshare = ["--net", "--mount", "--propagation", "private", ...asRoot];

/** Whether this process is inside. */
export const isLaboratory = (): boolean => process.env[marker] === "1";

/** What the inside needs before anything else. */
const preparation = `mount -t tmpfs none /run && mkdir ${names} && ip link set lo up`;

/** Why there is none on this machine, or undefined where there is one. */
export const laboratoryMissing = (): string | undefined => {
  const trial = `${preparation} && ip link add trial type bridge && ip netns add trial && tc qdisc`;
  const args = [...unshare, "sh", "-c", `PATH=$PATH:/usr/sbin:/sbin && ${trial}`];
  const { error, status, stderr } = spawnSync("unshare", args, { encoding: "utf8" });
  if (status === 0) return undefined;
  return `no namespaces for networks: ${(error?.message ?? stderr).trim().split("\n")[0]}`;
};

/** The command that runs a program of this repository inside. */
export const commandInside = (program: string, args: readonly string[]) => {
  const script = `PATH=$PATH:/usr/sbin:/sbin && ${preparation} && exec "$@"`;
  const inside = ["sh", "-c", script, "sh", process.execPath, program, ...args];
  const env = { ...process.env, [marker]: "1" };
  return { command: "unshare", args: [...unshare, ...inside], env };
};

/** Runs this program once more, inside, and resolves with its exit code. */
export const runInside = (program: string, args: readonly string[]): Promise<number> => {
  // The inside has no network to build it from.
  etcdPrograms();
  const inside = commandInside(program, args);
  const child = spawn(inside.command, inside.args, { stdio: "inherit", env: inside.env });
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    // A terminal has sent it to both.
    process.on(signal, () => process.stdin.isTTY || child.kill(signal));
  }
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
  });
};

/** Runs a program inside. Throws when it fails. */
export const system = (program: string, args: readonly string[], input = ""): void => {
  const { error, status, stderr } = spawnSync(program, args, { encoding: "utf8", input });
  if (status === 0) return;
  throw new Error(`${program} ${args.join(" ")}: ${error?.message ?? stderr.trim()}`);
};

/** The command that runs another one in a named network. */
export const inNetwork = (name: string): string[] => ["nsenter", `--net=${names}/${name}`];

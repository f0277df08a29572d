/**
 * Builds programs of Kubernetes of the version that `kubernetes/go.mod` pins, once, into a cache
 * outside of the clone. `node tools/k8s/build.ts NAME…` prints the directory.
 *
 * Needs Go; the first build downloads 0.6 GiB through Go's module proxy, and the API server alone
 * takes about seven minutes on two cores.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildMissing, programsDirectory } from "../go-programs.ts";

const module = fileURLToPath(new URL("kubernetes/", import.meta.url));

const names = [
  ...["kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler"],
  ...["kubelet", "kube-proxy"],
] as const;

export type ProgramName = (typeof names)[number];

/**
 * The version that the programs say they are. Without these flags the server calls itself
 * `v0.0.0-master`, kubectl cannot parse it, and Helm refuses charts that ask for a version.
 */
const versionFlags = (): string => {
  const [, version = ""] =
    /k8s\.io\/kubernetes (v[0-9.]+)/.exec(readFileSync(join(module, "go.mod"), "utf8")) ?? [];
  const [major, minor] = version.slice(1).split(".");
  const of = (place: string): string =>
    Object.entries({ gitVersion: version, gitMajor: major, gitMinor: minor })
      .map(([name, value]) => `-X ${place}.${name}=${value}`)
      .join(" ");
  const places = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"];
  return `-ldflags=-s -w ${places.map(of).join(" ")} -X ${places[0]}.gitTreeState=clean`;
};

/**
 * The directory with these programs, built where they are missing, one after the other. Throws
 * where there is no Go, or a build fails.
 */
export const kubernetesPrograms = (wanted: readonly ProgramName[]): string => {
  const directory = programsDirectory("kubernetes", module);
  const sources = wanted.map((name) => [name, `k8s.io/kubernetes/cmd/${name}`] as const);
  buildMissing(directory, module, Object.fromEntries(sources), [versionFlags()]);
  return directory;
};

const isName = (name: string): name is ProgramName => names.some((one) => one === name);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const wanted = process.argv.slice(2);
  const unknown = wanted.find((name) => !isName(name));
  if (wanted.length === 0 || unknown !== undefined) {
    console.error(`usage: node tools/k8s/build.ts ${names.map((name) => `[${name}]`).join(" ")}`);
    process.exit(2);
  }
  console.log(kubernetesPrograms(wanted.filter(isName)));
}

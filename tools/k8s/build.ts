/**
 * Builds programs of Kubernetes, of the version that `tools/k8s/kubernetes/go.mod` pins, coredns
 * and Helm (`tools/k8s/tools/go.mod`), once, into a cache outside of the clone.
 * `node tools/k8s/build.ts NAME…` prints their paths.
 *
 * Needs Go. Everything together downloads 2.7 GiB through Go's module proxy and takes about 14
 * minutes on two cores; the API server alone, 0.6 GiB and seven.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildMissing, goVersion, programsDirectory } from "../go-programs.ts";

const ofKubernetes = [
  ...["kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler"],
  ...["kubelet", "kube-proxy"],
] as const;
const ofOthers = ["coredns", "helm"] as const;

export type ProgramName = (typeof ofKubernetes)[number] | (typeof ofOthers)[number];

export const programNames: readonly ProgramName[] = [...ofKubernetes, ...ofOthers];

interface Source {
  /** A directory beside this file. */
  readonly module: "kubernetes" | "tools";
  readonly package: string;
}

const sourceOf = (name: ProgramName): Source => {
  if (name === "coredns") return { module: "tools", package: "github.com/coredns/coredns" };
  if (name === "helm") return { module: "tools", package: "helm.sh/helm/v4/cmd/helm" };
  return { module: "kubernetes", package: `k8s.io/kubernetes/cmd/${name}` };
};

/**
 * The version that the programs say they are. Without these flags the server calls itself
 * `v0.0.0-master`, kubectl cannot parse it, and Helm refuses charts that ask for a version.
 */
export const versionFlags = (goMod: string): string => {
  const [, version = ""] = /k8s\.io\/kubernetes (v[0-9.]+)/.exec(goMod) ?? [];
  const [major, minor] = version.slice(1).split(".");
  const of = (place: string): string =>
    Object.entries({ gitVersion: version, gitMajor: major, gitMinor: minor })
      .map(([name, value]) => `-X ${place}.${name}=${value}`)
      .join(" ");
  const places = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"];
  return `-ldflags=-s -w ${places.map(of).join(" ")} -X ${places[0]}.gitTreeState=clean`;
};

/** Why these programs cannot be built here, and what to do; undefined where they can. */
export const whyNot = (
  names: readonly ProgramName[],
  { go }: { readonly go: string | undefined } = { go: goVersion() },
): string | undefined => {
  const what = names.join(", ");
  if (go === undefined) return `${what} cannot be built: there is no Go: install Go 1.26 or newer`;
  const [, minor = "0"] = /\bgo1\.(\d+)/.exec(go) ?? [];
  if (Number(minor) >= 26) return undefined;
  return `${what} cannot be built with ${go}: install Go 1.26 or newer`;
};

const build = (name: ProgramName): string => {
  const source = sourceOf(name);
  const module = fileURLToPath(new URL(`${source.module}/`, import.meta.url));
  const flags =
    source.module === "kubernetes"
      ? versionFlags(readFileSync(join(module, "go.mod"), "utf8"))
      : "-ldflags=-s -w";
  // The directory of `kubernetes` is called so since before there was another.
  const cache = source.module === "kubernetes" ? "kubernetes" : "kubernetes-tools";
  const directory = programsDirectory(cache, module);
  buildMissing(directory, module, { [name]: source.package }, [flags]);
  return join(directory, name);
};

/**
 * The paths of these programs, built where they are missing, one after the other. Throws where
 * there is no Go, or a build fails.
 */
export const kubernetesPrograms = <Name extends ProgramName>(
  names: readonly Name[],
): Readonly<Record<Name, string>> => {
  const reason = whyNot(names);
  if (reason !== undefined) throw new Error(reason);
  const paths = names.map((name) => [name, build(name)] as const);
  return Object.fromEntries(paths) as Record<Name, string>;
};

const isName = (name: string): name is ProgramName => programNames.some((one) => one === name);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const wanted = process.argv.slice(2);
  if (wanted.length === 0 || !wanted.every(isName)) {
    const list = programNames.map((name) => `[${name}]`).join(" ");
    console.error(`usage: node tools/k8s/build.ts ${list}`);
    process.exit(2);
  }
  for (const path of Object.values(kubernetesPrograms(wanted))) console.log(path);
}

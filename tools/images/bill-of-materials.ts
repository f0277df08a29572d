/** What is in an image, in the words of CycloneDX 1.6, for programs that look for known faults. */
import { version } from "../pack/workspace.ts";
import type { Base } from "./base.ts";

/** What npm writes into `node_modules/.package-lock.json`, as far as it is needed. */
export interface Installed {
  readonly packages: Readonly<
    Record<
      string,
      {
        readonly name?: string;
        readonly version?: string;
        readonly link?: boolean;
        readonly license?: string;
        /** Such as `sha512-` and base64. */
        readonly integrity?: string;
      }
    >
  >;
}

interface Component {
  readonly type: "application" | "library" | "file";
  readonly name: string;
  readonly version?: string;
  readonly purl?: string;
  readonly licenses?: readonly { readonly expression: string }[];
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[];
}

const npmPurl = (name: string, at: string): string => `pkg:npm/${name.replace(/^@/, "%40")}@${at}`;

const hashesOf = (integrity: string | undefined): Pick<Component, "hashes"> => {
  const [, base64] = /^sha512-(\S+)$/.exec(integrity ?? "") ?? [];
  if (base64 === undefined) return {};
  return { hashes: [{ alg: "SHA-512", content: Buffer.from(base64, "base64").toString("hex") }] };
};

const npmComponents = ({ packages }: Installed): Component[] =>
  Object.entries(packages).flatMap(([path, { integrity, license, link, ...rest }]) => {
    // Where a workspace is linked to; it stands under its own path, too.
    if (link === true || rest.version === undefined) return [];
    const name = rest.name ?? path.slice(path.lastIndexOf("node_modules/") + 13);
    const one = { type: "library" as const, name, version: rest.version };
    const licenses = license === undefined ? {} : { licenses: [{ expression: license }] };
    return [{ ...one, purl: npmPurl(name, rest.version), ...licenses, ...hashesOf(integrity) }];
  });

const systemComponents = ({ others, packages }: Base): Component[] => [
  ...packages.map(({ architecture, name, version: at }) => {
    const purl = `pkg:deb/debian/${name}@${encodeURIComponent(at)}?arch=${architecture}`;
    return { type: "library" as const, name, version: at, purl };
  }),
  ...others.map((name) => ({ type: "file" as const, name })),
];

/** The same for the same content: it has neither a time nor a random name. */
export const billOfMaterials = (base: Base, installed: Installed, nodeVersion: string) => ({
  bomFormat: "CycloneDX",
  specVersion: "1.6",
  version: 1,
  metadata: { component: { type: "container", name: "millrace", version } },
  components: [
    {
      type: "application",
      name: "node",
      version: nodeVersion,
      purl: npmPurl(`node-linux-${process.arch}`, nodeVersion),
      licenses: [{ expression: "MIT" }],
    },
    ...systemComponents(base),
    ...npmComponents(installed),
  ] satisfies Component[],
});

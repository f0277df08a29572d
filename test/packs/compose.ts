/** What the Compose files say, as far as tests need it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { root } from "../../tools/pack/workspace.ts";

export interface Service {
  readonly image: string;
  readonly build?: string;
  readonly command: readonly string[];
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly test: readonly string[] };
}

export interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, null>>;
}

/** A Compose file, with the variables of this environment that it names left at their defaults. */
export const compose = (name: string): Compose =>
  parse(readFileSync(join(root, name), "utf8").replaceAll(/\$\{\w+:-([^}]*)\}/g, "$1"), {
    merge: true,
  });

/** Faults of the links between processes. */
import { type Fault, itemAt } from "./fault.ts";
import type { Network } from "./network.ts";
import type { LinkKind, Step } from "./plan.ts";

export type LinkStep = Step & { readonly kind: LinkKind };

/** Cuts both directions. */
const cut = (network: Network, one: string, other: string, isSilent: boolean): void => {
  if (!isSilent) network.refuse(one, other);
  else {
    network.lose(one, other);
    network.lose(other, one);
  }
};

/**
 * The ends of the links that a step cuts, or in whose direction nothing arrives any more. `name`:
 * the process that the step is about.
 */
export const linksOf = (
  { kind, other, isSilent }: Pick<LinkStep, "kind" | "other" | "isSilent">,
  name: string,
  processes: readonly string[],
): (readonly [string, string])[] => {
  const others = processes.filter((one) => one !== name);
  const of = (role: string): string[] => others.filter((one) => one.startsWith(role));
  switch (kind) {
    case "cut broker":
    case "cut controller":
    case "cut coordinator":
      return others.map((peer) => [name, peer]);
    case "cut brokers apart":
      return [[name, itemAt(of("broker"), other)]];
    case "cut etcd from one":
      return [[name, itemAt(others, other)]];
    case "stall link": {
      const peer = itemAt(others, other);
      return [isSilent ? [name, peer] : [peer, name]];
    }
    case "compact etcd":
      return of("etcd").map((etcd) => [name, etcd]);
    case "slow broker":
      return [];
  }
};

export const linkFaultOf = (
  network: Network,
  step: LinkStep,
  name: string,
  processes: readonly string[],
  compactEtcd: () => Promise<void>,
): Fault => {
  const { isSilent, kind } = step;
  const links = linksOf(step, name, processes);
  const isWhole = ["cut broker", "cut controller", "cut coordinator"].includes(kind);
  const pairs = links.map((pair) => pair.join(kind === "stall link" ? " to " : " and "));
  const what = links.length === 0 || isWhole ? name : pairs.join(", ");
  const how = isSilent ? "silently" : "refused";
  return {
    target: kind === "stall link" || kind === "slow broker" ? what : `${what}, ${how}`,
    begin: async () => {
      if (kind === "slow broker") network.slow(name);
      for (const [from, to] of links) {
        if (kind === "stall link") network.lose(from, to);
        else cut(network, from, to, isSilent);
      }
      if (kind === "compact etcd") await compactEtcd();
    },
    end: async () => network.heal(),
  };
};

/** What the plugins of CNI and kube-proxy leave in nftables. Pure: reads and writes its JSON. */

/** As `nft -j list ruleset` says it; what else it says is nothing to us. */
interface Chain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
}
interface Rule {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly handle: number;
}
type Entry = Partial<{
  table: { readonly family: string; readonly name: string };
  chain: Chain;
  rule: Rule & { readonly expr?: readonly unknown[] };
}>;

const entriesOf = (json: string): Entry[] => (json === "" ? [] : JSON.parse(json).nftables);

/** Tables by family and name, such as `ip nat`. */
export const tablesOf = (json: string): string[] =>
  entriesOf(json).flatMap(({ table }) =>
    table === undefined ? [] : [`${table.family} ${table.name}`],
  );

const isPlugins = (chain: string): boolean => chain.startsWith("CNI-");

/** The tables that iptables makes, as soon as it is asked for anything. */
const ofIptables = /^ip6? (nat|filter|mangle|raw|security)$/;

/**
 * The commands, a line each, that remove what has come since: kube-proxy's tables, the plugins'
 * chains, the rules that lead to them, and tables of iptables that are empty without these. Rules
 * of others stay.
 */
export const removalsOf = (json: string, before: readonly string[]): string[] => {
  const entries = entriesOf(json);
  const isNew = (table: string): boolean => !before.includes(table);
  const proxies = tablesOf(json).filter((one) => isNew(one) && one.endsWith(" kube-proxy"));
  const rules = entries.flatMap(({ rule }) => (rule === undefined ? [] : [rule]));
  const chains = entries.flatMap(({ chain }) => (chain === undefined ? [] : [chain]));
  const isLeading = (rule: Rule & { readonly expr?: readonly unknown[] }): boolean =>
    !isPlugins(rule.chain) && JSON.stringify(rule.expr ?? []).includes('"CNI-');
  const empty = tablesOf(json).filter((table) => {
    const of = (one: { readonly family: string; readonly table: string }): boolean =>
      `${one.family} ${one.table}` === table;
    const others = rules.filter((one) => of(one) && !isPlugins(one.chain) && !isLeading(one));
    return isNew(table) && ofIptables.test(table) && others.length === 0;
  });
  const stays = (one: { readonly family: string; readonly table: string }): boolean =>
    !empty.includes(`${one.family} ${one.table}`);
  const plugins = chains.filter((one) => isPlugins(one.name) && stays(one));
  const nameOf = ({ family, name, table }: Chain): string => `${family} ${table} ${name}`;
  return [
    ...[...proxies, ...empty].map((table) => `delete table ${table}`),
    ...rules
      .filter((one) => isLeading(one) && stays(one))
      .map((one) => `delete rule ${one.family} ${one.table} ${one.chain} handle ${one.handle}`),
    ...plugins.map((one) => `flush chain ${nameOf(one)}`),
    ...plugins.map((one) => `delete chain ${nameOf(one)}`),
  ];
};

import assert from "node:assert/strict";
import { test } from "node:test";
import { removalsOf, tablesOf } from "./nft.ts";

const table = (family: string, name: string) => ({ table: { family, name, handle: 1 } });
const chain = (table: string, name: string) => ({
  chain: { family: "ip", table, name, handle: 1 },
});
const rule = (table: string, chain: string, handle: number, ...expr: readonly unknown[]) => ({
  rule: { family: "ip", table, chain, handle, expr },
});
const jump = (target: string) => ({ jump: { target } });
const ruleset = (...nftables: readonly unknown[]): string =>
  JSON.stringify({ nftables: [{ metainfo: { version: "1.0.6" } }, ...nftables] });

test("tables are named by family and name", () => {
  assert.deepEqual(tablesOf(ruleset(table("ip", "nat"), table("inet", "mine"))), [
    ...["ip nat", "inet mine"],
  ]);
  assert.deepEqual(tablesOf(""), []);
});

test("an empty table of iptables, and kube-proxy's, are removed", () => {
  const now = ruleset(
    ...[table("ip", "kube-proxy"), table("ip6", "kube-proxy"), table("ip", "nat")],
    ...[chain("nat", "POSTROUTING"), chain("kube-proxy", "services")],
    rule("kube-proxy", "services", 4, { accept: null }),
  );
  assert.deepEqual(removalsOf(now, []), [
    ...["delete table ip kube-proxy", "delete table ip6 kube-proxy", "delete table ip nat"],
  ]);
});

test("what was there before stays", () => {
  const now = ruleset(table("ip", "kube-proxy"), table("ip", "nat"), table("inet", "mine"));
  assert.deepEqual(removalsOf(now, ["ip kube-proxy", "ip nat"]), []);
});

test("a new table with nothing but the plugins' chains goes as a whole", () => {
  const now = ruleset(
    ...[table("ip", "nat"), chain("nat", "POSTROUTING"), chain("nat", "CNI-abc")],
    rule("nat", "POSTROUTING", 7, jump("CNI-abc")),
    rule("nat", "CNI-abc", 8, { accept: null }),
  );
  assert.deepEqual(removalsOf(now, []), ["delete table ip nat"]);
});

test("of a table with rules of others, the plugins' chains go alone", () => {
  const now = ruleset(
    ...[table("ip", "nat"), chain("nat", "POSTROUTING"), chain("nat", "CNI-abc")],
    rule("nat", "POSTROUTING", 7, { match: {} }, jump("CNI-abc")),
    rule("nat", "POSTROUTING", 9, jump("DOCKER")),
    rule("nat", "CNI-abc", 8, { accept: null }),
  );
  const expected = [
    "delete rule ip nat POSTROUTING handle 7",
    ...["flush chain ip nat CNI-abc", "delete chain ip nat CNI-abc"],
  ];
  assert.deepEqual(removalsOf(now, []), expected);
  assert.deepEqual(removalsOf(now, ["ip nat"]), expected);
});

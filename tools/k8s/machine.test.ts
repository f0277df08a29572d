import assert from "node:assert/strict";
import { test } from "node:test";
import { programAt } from "../programs.ts";
import { type Machine, missingPackages, whyNoCluster } from "./machine.ts";

const good: Machine = {
  platform: "linux",
  user: 0,
  capabilities: 0x1fffffffffn,
  go: "go version go1.26.8 linux/amd64",
  missingPackages: [],
  hasApt: false,
  traces: [],
};

test("a machine that has everything runs a cluster, also where apt-get brings the rest", () => {
  assert.equal(whyNoCluster(good), undefined);
  const needs = { ...good, missingPackages: ["containerd"], hasApt: true };
  assert.equal(whyNoCluster(needs), undefined);
});

const refusals: readonly (readonly [changes: Partial<Machine>, text: RegExp])[] = [
  [{ platform: "darwin" }, /^a node needs Linux, and this is darwin: .*--api-only/],
  [{ user: 1000 }, /^a node needs root, and this is user 1000: use sudo/],
  [{ capabilities: 0x1fffffffffn & ~(1n << 21n) }, /^this root has no CAP_SYS_ADMIN: leave/],
  [{ capabilities: 0x1fffffffffn & ~(1n << 12n) }, /^this root has no CAP_NET_ADMIN: leave/],
  [{ go: undefined }, /there is no Go: install Go 1\.26/],
  [{ missingPackages: ["runc", "nftables"] }, /^runc, nftables are missing, and there is no apt/],
  [{ traces: ["/var/lib/kubelet"] }, /^another kubelet has been here \(\/var\/lib\/kubelet\)/],
];

for (const [changes, text] of refusals) {
  const json = JSON.stringify(Object.keys(changes));
  test(`refused, with a reason: ${json} ${text.source.slice(0, 30)}`, () => {
    assert.match(whyNoCluster({ ...good, ...changes }) ?? "", text);
  });
}

test("programs are looked for where the system has them", () => {
  assert.match(programAt("sh") ?? "", /\/sh$/);
  assert.equal(programAt("no-such-program-of-ours"), undefined);
  assert.ok(Array.isArray(missingPackages()));
});

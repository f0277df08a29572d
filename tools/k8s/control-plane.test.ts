import assert from "node:assert/strict";
import { test } from "node:test";
import { apiServerFlags, etcdFlags } from "./control-plane.ts";

test("etcd listens on loopback alone, and keeps its data in the directory", () => {
  const flags = etcdFlags({ directory: "/run/one", clientPort: 1234, peerPort: 5678 });
  assert.ok(flags.includes("--data-dir=/run/one/etcd"));
  assert.ok(flags.includes("--listen-client-urls=http://127.0.0.1:1234"));
  assert.ok(flags.includes("--initial-cluster=default=http://127.0.0.1:5678"));
  assert.ok(!flags.some((flag) => flag.includes("0.0.0.0") || flag.includes("2379")));
});

test("the API server listens where it is told, and admits by roles", () => {
  const place = { pki: "/run/one/pki", address: "10.244.0.1", port: 4321, etcdPort: 1234 };
  const flags = apiServerFlags(place);
  for (const flag of [
    ...["--etcd-servers=http://127.0.0.1:1234", "--bind-address=10.244.0.1"],
    ...["--secure-port=4321", "--authorization-mode=Node,RBAC"],
    ...["--client-ca-file=/run/one/pki/ca.crt", "--service-account-key-file=/run/one/pki/sa.pub"],
  ]) {
    assert.ok(flags.includes(flag), flag);
  }
});

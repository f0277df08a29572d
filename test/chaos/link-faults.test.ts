import assert from "node:assert/strict";
import { test } from "node:test";
import { linksOf } from "./link-faults.ts";
import type { LinkKind } from "./plan.ts";

const processes = ["etcd-0", "controller-0", "controller-1", "broker-0", "broker-1", "broker-2"];
const links = (kind: LinkKind, name: string, other: number, isSilent = false): string[] =>
  linksOf({ kind, other, isSilent }, name, processes).map((pair) => pair.join(" "));

test("a broker or a controller is cut off from every other process", () => {
  for (const [kind, name] of [
    ["cut broker", "broker-1"],
    ["cut controller", "controller-1"],
    ["cut coordinator", "group-coordinator-0"],
  ] as const) {
    const others = processes.filter((one) => one !== name);
    assert.deepEqual(
      links(kind, name, 0.5),
      others.map((other) => `${name} ${other}`),
    );
  }
});

test("brokers are cut apart from brokers, and never from themselves", () => {
  assert.deepEqual(links("cut brokers apart", "broker-1", 0), ["broker-1 broker-0"]);
  assert.deepEqual(links("cut brokers apart", "broker-1", 0.99), ["broker-1 broker-2"]);
});

test("etcd is cut off from one process of any kind", () => {
  const all = [0, 0.2, 0.4, 0.6, 0.8].map((other) => links("cut etcd from one", "etcd-0", other));
  assert.deepEqual(
    all.flat(),
    processes.slice(1).map((other) => `etcd-0 ${other}`),
  );
});

test("a link stalls in either direction, between a broker and any process", () => {
  assert.deepEqual(links("stall link", "broker-0", 0, true), ["broker-0 etcd-0"]);
  assert.deepEqual(links("stall link", "broker-0", 0, false), ["etcd-0 broker-0"]);
  assert.deepEqual(links("stall link", "broker-0", 0.99, true), ["broker-0 broker-2"]);
});

test("during a compaction a broker is cut off from etcd alone; a slow one has all its links", () => {
  assert.deepEqual(links("compact etcd", "broker-2", 0.7), ["broker-2 etcd-0"]);
  assert.deepEqual(links("slow broker", "broker-2", 0.7), []);
});

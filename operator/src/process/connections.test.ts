import assert from "node:assert/strict";
import { test } from "node:test";
import type { Cluster } from "../api/index.ts";
import { Connections } from "./connections.ts";

const cluster = (name: string, bootstrap: string | undefined, uid = name): Cluster =>
  ({
    metadata: { namespace: "n", name, uid },
    status: bootstrap === undefined ? {} : { listeners: [{ name: "clients", bootstrap }] },
  }) as unknown as Cluster;

const setUp = () => {
  const closed: string[] = [];
  const errors: unknown[] = [];
  let opened = 0;
  const connections = new Connections(
    (bootstrap) => {
      opened += 1;
      const close = async (): Promise<void> => {
        if (bootstrap === "broken:1") throw new Error("it cannot be closed");
        closed.push(bootstrap);
      };
      return { bootstrap, close };
    },
    (error) => errors.push(error),
  );
  return { closed, connections, errors, opened: () => opened };
};

test("one connection for each Cluster, for as long as it has its address", async () => {
  const { closed, connections, opened } = setUp();
  assert.equal(connections.to(cluster("a", undefined)), undefined);
  const first = connections.to(cluster("a", "h:1"));
  assert.equal(first?.bootstrap, "h:1");
  assert.equal(connections.to(cluster("a", "h:1")), first);
  assert.equal(opened(), 1);
  connections.to(cluster("b", "h:1"));
  assert.equal(opened(), 2);
  assert.equal(connections.to(cluster("a", "h:2"))?.bootstrap, "h:2");
  assert.deepEqual(closed, ["h:1"]);
  // Another Cluster of the same name.
  const second = connections.to(cluster("a", "h:2", "later"));
  assert.deepEqual([closed.length, opened()], [2, 4]);
  assert.equal(connections.to(cluster("a", undefined, "later")), undefined);
  assert.deepEqual(closed, ["h:1", "h:2", "h:2"]);
  assert.notEqual(connections.to(cluster("a", "h:2", "later")), second);
  connections.forget({ namespace: "n", name: "a" });
  assert.equal(connections.size, 1);
  await connections.close();
  assert.equal(closed.length, 5);
});

test("there are so many at most: what was not asked for the longest goes", async () => {
  const { closed, connections } = setUp();
  for (let i = 0; i < 256; i += 1) connections.to(cluster(`c${i}`, `h:${i}`));
  connections.to(cluster("c0", "h:0"));
  connections.to(cluster("one more", "h:256"));
  assert.equal(connections.size, 256);
  assert.deepEqual(closed, ["h:1"]);
  await connections.close();
});

test("one that cannot be closed is told, and holds up nothing", async () => {
  const { connections, errors } = setUp();
  connections.to(cluster("a", "broken:1"));
  await connections.close();
  assert.deepEqual(errors.map(String), ["Error: it cannot be closed"]);
});

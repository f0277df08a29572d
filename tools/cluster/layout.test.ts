import assert from "node:assert/strict";
import { test } from "node:test";
import { startFlags } from "../start-command.ts";
import { type Layout, type Process, processesOf } from "./layout.ts";
import { reportOf } from "./report.ts";
import type { ClusterFile } from "./state.ts";

const layoutWith = (fields: Partial<Layout> = {}): Layout => ({
  ...{ root: "/repository", directory: "/data", etcdPrograms: "/programs", etcdEndpoints: [] },
  ...{ brokers: 3, controllers: 3, groupCoordinators: 0, etcd: 1, basePort: 7400 },
  ...fields,
});

const named = (name: string, processes: readonly Process[]): Process => {
  const found = processes.find((one) => one.name === name);
  assert.ok(found !== undefined, `there is no ${name}`);
  return found;
};

/** What follows a flag in a process's arguments. */
const flagOf = ({ args }: Process, flag: string): string | undefined =>
  args[args.indexOf(flag) + 1];

test("processes are numbered by role, in the order in which they start", () => {
  const processes = processesOf(
    layoutWith({ brokers: 2, controllers: 1, groupCoordinators: 2, etcd: 3 }),
  );
  assert.deepEqual(
    processes.map(({ name }) => name),
    [
      ...["etcd-0", "etcd-1", "etcd-2", "controller-0", "broker-0", "broker-1"],
      ...["group-coordinator-0", "group-coordinator-1"],
    ],
  );
  for (const { id, name, role } of processes) assert.equal(name, `${role}-${id}`);
});

test("the first broker has the base port, and the ports of a role follow it by tens", () => {
  const processes = processesOf(layoutWith({ basePort: 9000 }));
  assert.deepEqual(named("broker-0", processes).endpoints, {
    ...{ client: "127.0.0.1:9000", internal: "127.0.0.1:9001" },
    ...{ health: "127.0.0.1:9002", http: "127.0.0.1:9003" },
  });
  assert.equal(named("broker-2", processes).endpoints["client"], "127.0.0.1:9020");
  assert.equal(named("controller-0", processes).endpoints["client"], "127.0.0.1:9200");
  const etcd = { client: "127.0.0.1:9290", peer: "127.0.0.1:9291" };
  assert.deepEqual(named("etcd-0", processes).endpoints, etcd);
});

test("the largest cluster has no port twice, and none above 65,535", () => {
  const largest = { brokers: 20, controllers: 9, groupCoordinators: 9, etcd: 5, basePort: 65_000 };
  const addresses = processesOf(layoutWith(largest)).flatMap(({ endpoints }) =>
    Object.values(endpoints),
  );
  assert.equal(new Set(addresses).size, addresses.length);
  assert.equal(addresses.length, 38 * 4 + 5 * 2);
  for (const address of addresses) assert.ok(Number(address.split(":")[1]) <= 65_535, address);
});

test("a process has a directory and a log of its name, and is told its addresses", () => {
  const processes = processesOf(layoutWith());
  for (const one of processes) {
    assert.equal(one.dataDirectory, `/data/${one.name}`);
    assert.equal(one.logFile, `/data/${one.name}.log`);
  }
  const broker = named("broker-1", processes);
  assert.equal(broker.command, process.execPath);
  const flags = startFlags();
  assert.deepEqual(broker.args.slice(0, flags.length), flags, "as `npm start` starts Node");
  assert.equal(broker.args[flags.length], "/repository/services/broker/src/process/main.ts");
  assert.equal(flagOf(broker, "--broker-id"), "1");
  assert.equal(flagOf(broker, "--data-dir"), "/data/broker-1");
  assert.equal(flagOf(broker, "--listen"), broker.endpoints["client"]);
  assert.equal(flagOf(broker, "--http-listen"), broker.endpoints["http"]);
  const etcd = named("etcd-0", processes);
  assert.equal(etcd.command, "/programs/etcd");
  assert.equal(flagOf(etcd, "--data-dir"), "/data/etcd-0/data");
});

test("members of etcd know one another, and every service knows them", () => {
  const processes = processesOf(layoutWith({ etcd: 3 }));
  const peers = [0, 1, 2].map((id) => `etcd-${id}=http://127.0.0.1:${7691 + 10 * id}`).join(",");
  assert.equal(flagOf(named("etcd-2", processes), "--initial-cluster"), peers);
  const clients = [0, 1, 2].map((id) => `http://127.0.0.1:${7690 + 10 * id}`).join(",");
  for (const name of ["broker-0", "controller-2"]) {
    assert.equal(flagOf(named(name, processes), "--etcd-endpoints"), clients);
  }
});

test("with an etcd that runs already, none is started", () => {
  const processes = processesOf(layoutWith({ etcd: 0, etcdEndpoints: ["http://a:1"] }));
  assert.ok(processes.every(({ role }) => role !== "etcd"));
  assert.equal(flagOf(named("broker-0", processes), "--etcd-endpoints"), "http://a:1");
});

for (const [brokers, replicas] of [
  [1, 1],
  [2, 2],
  [3, 3],
  [5, 3],
] as const) {
  test(`${brokers} brokers: ${replicas} replicas by default, and in what is suggested`, () => {
    const processes = processesOf(layoutWith({ brokers }));
    const flag = "--default-replication-factor";
    assert.equal(flagOf(named("controller-0", processes), flag), String(replicas));
    const cluster: ClusterFile = {
      ...{ cluster_id: "c", bootstrap: "127.0.0.1:7400" },
      processes: processes.map(({ dataDirectory, endpoints, id, logFile, name, role }) => ({
        ...{ name, role, id, endpoints, state: "running" },
        ...{ data_dir: dataDirectory, log: logFile },
      })),
    };
    const report = reportOf(cluster);
    assert.match(report, new RegExp(`--partitions 6 --replication-factor ${replicas}\n`));
    assert.match(report, /MILLRACE_BOOTSTRAP=127\.0\.0\.1:7400\n/);
    assert.match(report, /^broker-0 +running +127\.0\.0\.1:7400 +127\.0\.0\.1:7403 +\/data/m);
  });
}

test("a process may have a place of its own, which all others know", () => {
  const placeOf = (name: string) => ({ host: `10.0.0.${name.length}`, enter: ["enter", name] });
  const [etcd, controller, broker] = processesOf(
    layoutWith({ brokers: 1, controllers: 1, placeOf }),
  ).map(({ args, command, endpoints }) => ({ command, args, endpoints }));
  assert.deepEqual(
    [etcd?.command, ...(etcd?.args.slice(0, 2) ?? [])],
    [...["enter", "etcd-0", "/programs/etcd"]],
  );
  assert.equal(etcd?.endpoints["client"], "10.0.0.6:7690");
  for (const one of [controller, broker]) {
    assert.equal(one?.args[1], process.execPath);
    assert.ok(one?.args.includes("http://10.0.0.6:7690"));
  }
  assert.equal(controller?.endpoints["internal"], "10.0.0.12:7601");
  assert.equal(broker?.endpoints["client"], "10.0.0.8:7400");
});

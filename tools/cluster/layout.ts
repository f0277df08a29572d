/** What a cluster on one machine consists of: names, ports, commands. */
import { get } from "node:http";
import { join } from "node:path";
import { startFlags } from "../start-command.ts";
import type { ManagedOptions } from "./managed.ts";

export interface Layout {
  readonly root: string;
  readonly directory: string;
  readonly brokers: number;
  readonly controllers: number;
  readonly groupCoordinators: number;
  /** Members of the etcd that is started; 0 with `etcdEndpoints`. */
  readonly etcd: number;
  /** Of an etcd that runs already. */
  readonly etcdEndpoints: readonly string[];
  /** Port of the first broker for clients. */
  readonly basePort: number;
  /** Directory with the programs of etcd; unused without members. */
  readonly etcdPrograms: string;
  /** Where a process runs, by its name; without it, all of them on loopback. */
  readonly placeOf?: (name: string) => Place;
}

/** An address, and the command that runs another one there. */
export interface Place {
  readonly host: string;
  readonly enter: readonly string[];
}

/** A process, before anything watches over it. */
export type Process = Omit<ManagedOptions, "onChange" | "moreArgs">;

const loopback: Place = { host: "127.0.0.1", enter: [] };
/** Ports of one process. */
const portsPerProcess = 10;
/** Most brokers; controllers, etcd and group coordinators have their ports behind them. */
export const brokersMax = 20;
export const controllersMax = 9;
export const groupCoordinatorsMax = 9;
/** Most members of etcd. */
const etcdMax = 5;

/** Replicas that a topic has by default. */
export const replicasOf = (brokers: number): number => Math.min(3, brokers);

/** Whether an HTTP path answers with 200. */
const answers = (address: string, path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const request = get(`http://${address}${path}`, { timeout: 2000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.once("timeout", () => request.destroy());
    request.once("error", () => resolve(false));
  });

const placeOf = (layout: Layout, name: string): Place => layout.placeOf?.(name) ?? loopback;

/** Command and arguments that run a program at a place. */
const commandAt = ({ enter }: Place, program: string, args: readonly string[]) => {
  const [command = program, ...all] = [...enter, program, ...args];
  return { command, args: all };
};

const portOf = (layout: Layout, index: number): number => layout.basePort + index * portsPerProcess;

const etcdIndex = (id: number): number => brokersMax + controllersMax + id;

const groupCoordinatorIndex = (id: number): number => etcdIndex(etcdMax) + id;

const etcdAddress = (layout: Layout, id: number, offset = 0): string => {
  const { host } = placeOf(layout, `etcd-${id}`);
  return `${host}:${portOf(layout, etcdIndex(id)) + offset}`;
};

const etcdMembers = (layout: Layout): Process[] => {
  const urlOf = (id: number, offset: number): string => `http://${etcdAddress(layout, id, offset)}`;
  const ids = Array.from({ length: layout.etcd }, (_, id) => id);
  const all = ids.map((id) => `etcd-${id}=${urlOf(id, 1)}`).join(",");
  return ids.map((id) => {
    const name = `etcd-${id}`;
    const dataDirectory = join(layout.directory, name);
    const client = etcdAddress(layout, id);
    return {
      ...{ name, role: "etcd", id, dataDirectory },
      ...commandAt(placeOf(layout, name), join(layout.etcdPrograms, "etcd"), [
        ...["--name", name, "--data-dir", join(dataDirectory, "data")],
        ...["--listen-client-urls", urlOf(id, 0), "--advertise-client-urls", urlOf(id, 0)],
        ...["--listen-peer-urls", urlOf(id, 1), "--initial-advertise-peer-urls", urlOf(id, 1)],
        ...["--initial-cluster", all, "--initial-cluster-state", "new", "--log-level", "warn"],
      ]),
      endpoints: { client, peer: etcdAddress(layout, id, 1) },
      logFile: `${dataDirectory}.log`,
      isReady: () => answers(client, "/health"),
    };
  });
};

type Service = "broker" | "controller" | "group-coordinator";

const indexOf = (role: Service, id: number): number => {
  if (role === "broker") return id;
  return role === "controller" ? brokersMax + id : groupCoordinatorIndex(id);
};

/** A process of ours: the same four listeners for every role. */
const service = (layout: Layout, role: Service, id: number, more: readonly string[]): Process => {
  const name = `${role}-${id}`;
  const port = portOf(layout, indexOf(role, id));
  const place = placeOf(layout, name);
  const at = (offset: number): string => `${place.host}:${port + offset}`;
  const endpoints = { client: at(0), internal: at(1), health: at(2), http: at(3) };
  const dataDirectory = join(layout.directory, name);
  return {
    ...{ name, role, id, endpoints, dataDirectory },
    ...commandAt(place, process.execPath, [
      // Nothing that a broker says of its speed should depend on how it was started.
      ...(role === "broker" ? startFlags() : []),
      join(layout.root, "services", role, "src", "process", "main.ts"),
      ...[`--${role === "group-coordinator" ? "coordinator" : role}-id`, String(id)],
      ...["--data-dir", dataDirectory],
      ...["--listen", endpoints.client, "--internal-listen", endpoints.internal],
      ...["--health-listen", endpoints.health, "--http-listen", endpoints.http],
      ...["--etcd-endpoints", etcdOf(layout).join(","), "--log-format", "json"],
      ...more,
    ]),
    logFile: `${dataDirectory}.log`,
    isReady: () => answers(endpoints.http, "/readyz"),
  };
};

const etcdOf = (layout: Layout): readonly string[] =>
  layout.etcdEndpoints.length > 0
    ? layout.etcdEndpoints
    : Array.from({ length: layout.etcd }, (_, id) => `http://${etcdAddress(layout, id)}`);

/** All processes, in the order in which they start: each stands on those before it. */
export const processesOf = (layout: Layout): Process[] => {
  const replicas = String(replicasOf(layout.brokers));
  const controllers = Array.from({ length: layout.controllers }, (_, id) =>
    service(layout, "controller", id, ["--default-replication-factor", replicas]),
  );
  const brokers = Array.from({ length: layout.brokers }, (_, id) =>
    service(layout, "broker", id, []),
  );
  const groupCoordinators = Array.from({ length: layout.groupCoordinators }, (_, id) =>
    service(layout, "group-coordinator", id, []),
  );
  return [...etcdMembers(layout), ...controllers, ...brokers, ...groupCoordinators];
};

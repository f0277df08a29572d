/** The command line of `npm run cluster`. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { type Action, actions, type Command } from "./control.ts";
import { brokersMax, controllersMax, groupCoordinatorsMax, type Layout } from "./layout.ts";

export const usage = `npm run cluster [-- [--dir D] [--brokers N] [--controllers N]
                 [--group-coordinators N] [--etcd N] [--etcd-endpoints URLS] [--base-port P]]
npm run cluster -- stop|start|restart|kill|pause|resume NAME [--dir D]

  --dir D                directory of everything that is stored (./cluster)
  --brokers N            brokers, 1 to ${brokersMax} (3)
  --controllers N        controllers, 1 to ${controllersMax} (3)
  --group-coordinators N coordinators of groups, 0 to ${groupCoordinatorsMax} (3)
  --etcd N               members of etcd, 1, 3 or 5 (1)
  --etcd-endpoints URLS  an etcd that runs already: http://HOST:PORT, joined by commas
  --base-port P          port of the first broker for clients (7400); the others follow

NAME is as in D/cluster.json: broker-0, controller-1, group-coordinator-2, etcd-0. A process that
dies is started again after a second; stop keeps it down.`;

/** A wrong command line, with a text for people. */
export class UsageError extends Error {}

/** What the command line asks for. */
export type Order =
  | { readonly kind: "help" }
  | { readonly kind: "run"; readonly layout: Omit<Layout, "etcdPrograms" | "root"> }
  | { readonly kind: "act"; readonly directory: string; readonly command: Command };

const parse = (args: readonly string[]) => {
  const text = (value: string) => ({ type: "string", default: value }) as const;
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        dir: text("cluster"),
        brokers: text("3"),
        controllers: text("3"),
        "group-coordinators": text("3"),
        etcd: text("1"),
        "etcd-endpoints": text(""),
        "base-port": text("7400"),
        help: { type: "boolean", default: false },
      },
    });
  } catch (thrown) {
    throw new UsageError(thrown instanceof Error ? thrown.message : String(thrown));
  }
};

type Values = ReturnType<typeof parse>["values"];

const whole = (name: string, text: string, min: number, max: number): number => {
  const value = Number(text);
  if (/^[0-9]{1,5}$/.test(text) && value >= min && value <= max) return value;
  throw new UsageError(
    `--${name} ${text} is not allowed: use a whole number from ${min} to ${max}`,
  );
};

/** An even number of members survives no more failures than the odd number below it. */
const membersOf = (text: string): number => {
  if (/^[135]$/.test(text)) return Number(text);
  throw new UsageError(`--etcd ${text} is not allowed: use 1, 3 or 5`);
};

const layoutOf = (values: Values): Omit<Layout, "etcdPrograms" | "root"> => {
  const etcdEndpoints = values["etcd-endpoints"].split(",").filter((one) => one !== "");
  return {
    ...{ directory: resolve(values.dir), etcdEndpoints },
    etcd: etcdEndpoints.length > 0 ? 0 : membersOf(values.etcd),
    brokers: whole("brokers", values.brokers, 1, brokersMax),
    controllers: whole("controllers", values.controllers, 1, controllersMax),
    groupCoordinators: whole(
      "group-coordinators",
      values["group-coordinators"],
      0,
      groupCoordinatorsMax,
    ),
    basePort: whole("base-port", values["base-port"], 1024, 65_000),
  };
};

const isAction = (text: string): text is Action => actions.some((one) => one === text);

/** Throws UsageError. */
export const orderOf = (args: readonly string[]): Order => {
  const { positionals, values } = parse(args);
  if (values.help) return { kind: "help" };
  const [action, name, ...more] = positionals;
  if (action === undefined) return { kind: "run", layout: layoutOf(values) };
  if (!isAction(action)) {
    throw new UsageError(`there is no command ${action}: use one of ${actions.join(", ")}`);
  }
  if (name === undefined) throw new UsageError(`${action} needs the NAME of a process`);
  if (more.length > 0) {
    throw new UsageError(`${action} takes one NAME, not ${more.length + 1}: repeat the command`);
  }
  const directory = resolve(values.dir);
  if (!existsSync(directory)) {
    throw new UsageError(`--dir ${values.dir}: there is no such directory`);
  }
  return { kind: "act", directory, command: { action, name } };
};

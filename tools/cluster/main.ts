/**
 * `npm run cluster`: a cluster on this machine, on loopback ports, until Ctrl-C. See `usage`.
 * Ends with 0 after a clean stop, 1 when something failed, 2 for a wrong command line.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { etcdPrograms } from "../etcd/build.ts";
import { type Action, actions, sendCommand } from "./control.ts";
import { brokersMax, controllersMax, type Layout } from "./layout.ts";
import { Supervisor } from "./supervisor.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

const usage = `npm run cluster [-- [--dir D] [--brokers N] [--controllers N] [--etcd N]]
npm run cluster -- stop|start|restart|kill|pause|resume NAME [--dir D]

  --dir D                directory of everything that is stored (./cluster)
  --brokers N            brokers, 1 to ${brokersMax} (3)
  --controllers N        controllers, 1 to ${controllersMax} (3)
  --etcd N               members of etcd, 1, 3 or 5 (1)
  --etcd-endpoints URLS  an etcd that runs already: http://HOST:PORT, joined by commas
  --base-port P          port of the first broker for clients (7400); the others follow

NAME is as in D/cluster.json: broker-0, controller-1, etcd-0. A process that dies is started again
after a second; stop keeps it down.`;

class UsageError extends Error {}

const whole = (name: string, text: string, min: number, max: number): number => {
  const value = Number(text);
  if (/^[0-9]{1,5}$/.test(text) && value >= min && value <= max) return value;
  throw new UsageError(
    `--${name} ${text} is not allowed: use a whole number from ${min} to ${max}`,
  );
};

const parse = () => {
  const text = (value: string) => ({ type: "string", default: value }) as const;
  return parseArgs({
    allowPositionals: true,
    options: {
      dir: text("cluster"),
      brokers: text("3"),
      controllers: text("3"),
      etcd: text("1"),
      "etcd-endpoints": text(""),
      "base-port": text("7400"),
      help: { type: "boolean", default: false },
    },
  });
};

type Values = ReturnType<typeof parse>["values"];

const layoutOf = (values: Values): Layout => {
  const endpoints = values["etcd-endpoints"].split(",").filter((one) => one !== "");
  const etcd = endpoints.length > 0 ? 0 : whole("etcd", values.etcd, 1, 5);
  return {
    ...{ root, directory: resolve(values.dir), etcdEndpoints: endpoints, etcd },
    brokers: whole("brokers", values.brokers, 1, brokersMax),
    controllers: whole("controllers", values.controllers, 1, controllersMax),
    basePort: whole("base-port", values["base-port"], 1024, 65_000),
    etcdPrograms: etcd === 0 ? "" : etcdPrograms(),
  };
};

const report = (supervisor: Supervisor): void => {
  const rows = supervisor.entries.map(({ endpoints, log, name, state }) => [
    ...[name, state, endpoints["client"] ?? "", endpoints["http"] ?? "", log],
  ]);
  const all = [["process", "state", "clients", "http", "log"], ...rows];
  const widths = [0, 1, 2, 3].map((at) => Math.max(...all.map((row) => row[at]?.length ?? 0)));
  for (const row of all)
    console.log(row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  "));
  const { bootstrap } = supervisor;
  console.log(`
Try, in another terminal:
  export MILLRACE_BOOTSTRAP=${bootstrap}
  npx millrace topic create events --partitions 6 --replication-factor 3
  npx millrace cluster status
Ctrl-C stops everything.`);
};

const run = async (layout: Layout): Promise<number> => {
  const supervisor = new Supervisor(layout);
  const signalled = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => signalled.resolve());
  }
  let failure: unknown;
  try {
    const started = supervisor.start().then(() => report(supervisor));
    await Promise.race([started, signalled.promise]);
    await signalled.promise;
  } catch (thrown) {
    failure = thrown;
  }
  console.error("stopping…");
  await supervisor.stop();
  if (failure !== undefined) throw failure;
  return 0;
};

const main = async (): Promise<number> => {
  try {
    const { positionals, values } = parse();
    if (values.help) {
      console.log(usage);
      return 0;
    }
    const [action, name, ...more] = positionals;
    if (action === undefined) return await run(layoutOf(values));
    if (!actions.includes(action as Action) || name === undefined || more.length > 0) {
      throw new UsageError(`${positionals.join(" ")} is no command`);
    }
    const directory = resolve(values.dir);
    if (!existsSync(directory))
      throw new UsageError(`--dir ${values.dir}: there is no such directory`);
    await sendCommand(directory, { action: action as Action, name });
    return 0;
  } catch (thrown) {
    const isUsage =
      thrown instanceof UsageError || (thrown instanceof TypeError && "code" in thrown);
    console.error(`error: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    if (isUsage) console.error(usage);
    return isUsage ? 2 : 1;
  }
};

process.exitCode = await main();

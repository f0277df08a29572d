/**
 * `npm run cluster`: a cluster on this machine, on loopback ports, until Ctrl-C. See `usage`.
 * Ends with 0 after a clean stop, 1 when something failed, 2 for a wrong command line.
 */
import { fileURLToPath } from "node:url";
import { etcdPrograms } from "../etcd/build.ts";
import { orderOf, UsageError, usage } from "./command-line.ts";
import { sendCommand } from "./control.ts";
import { processesOf } from "./layout.ts";
import { reportOf } from "./report.ts";
import { Supervisor } from "./supervisor.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

const run = async (supervisor: Supervisor): Promise<void> => {
  const signalled = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => signalled.resolve());
  }
  try {
    const started = supervisor.start().then((isComplete) => {
      if (isComplete) console.log(reportOf(supervisor.cluster));
    });
    await Promise.race([started, signalled.promise]);
    await signalled.promise;
  } finally {
    console.error("stopping…");
    await supervisor.stop();
  }
};

const main = async (): Promise<number> => {
  try {
    const order = orderOf(process.argv.slice(2));
    if (order.kind === "help") console.log(usage);
    else if (order.kind === "act") await sendCommand(order.directory, order.command);
    else {
      const programs = order.layout.etcd === 0 ? "" : etcdPrograms();
      const layout = { ...order.layout, root, etcdPrograms: programs };
      await run(new Supervisor(layout.directory, processesOf(layout)));
    }
    return 0;
  } catch (thrown) {
    console.error(`error: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    if (!(thrown instanceof UsageError)) return 1;
    console.error(usage);
    return 2;
  }
};

process.exitCode = await main();

/** The operator as a process: an API server, an election, and what it looks after. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import type { KubeConfig } from "@kubernetes/client-node";
import { type Client, createClient, nodeClientEnv } from "@millrace/client";
import type { Resolved } from "@millrace/config";
import type { Logger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { Metrics } from "@millrace/observability";
import { grpcDialer } from "@millrace/rpc/grpc";
import {
  type Launch,
  type Program,
  processMetrics,
  type RunningServer,
  startServer,
} from "@millrace/server/node";
import { clientBrokers } from "../reconcile/broker/client-brokers.ts";
import { clientTopics } from "../reconcile/topic/client-topics.ts";
import { fenced } from "../runtime/fenced.ts";
import { LeaderElection } from "../runtime/leader.ts";
import { measured } from "../runtime/measured.ts";
import { KubernetesClient, loadConfig, runtimeMetrics } from "../runtime/node/index.ts";
import { operatorSchema } from "./config.ts";
import { Connections } from "./connections.ts";
import { makeParts } from "./parts.ts";

const fieldManager = "millrace-operator";
/** A watch that is silent, or a reconcile that is stuck, for so long: begun anew, milliseconds. */
const aliveMs = 15 * 60_000;
/** A process that has lost its lease has to be gone soon; it writes nothing any more, ms. */
const lostExitMs = 10_000;
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

const configOf = (path: string): KubeConfig => {
  try {
    return loadConfig(path === "" ? undefined : path);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const message = `no API server is known: ${why}: set --kubeconfig`;
    throw new MillraceError(ErrorCode.INVALID_CONFIG, message, { cause });
  }
};

/** That of the pod, or of the kubeconfig's context. */
const ownNamespace = (config: KubeConfig): string => {
  try {
    return readFileSync(namespaceFile, "utf8").trim();
  } catch {
    return config.getContextObject(config.getCurrentContext())?.namespace ?? "default";
  }
};

/** Of this life: a process that comes back is another. */
const identityOf = (): string => {
  const random = Buffer.from(nodeRandom().bytes(4)).toString("hex");
  return `${hostname()}_${random}`;
};

const endProcess = (): void => {
  process.exitCode = 1;
  setTimeout(() => process.exit(1), lostExitMs).unref();
  process.kill(process.pid, "SIGTERM");
};

const connectionsTo = (timeoutMs: number, logger: Logger): Connections<Client> =>
  new Connections(
    (bootstrap) =>
      createClient({
        ...{ bootstrap, dialer: grpcDialer(), env: nodeClientEnv(logger) },
        ...{ clientId: fieldManager, adminTimeoutMs: timeoutMs },
      }),
    (err) => logger.warn({ err }, "a connection to a cluster could not be closed"),
  );

/** What it counts. */
export const operatorMetrics = (): Metrics => {
  const { registry } = processMetrics();
  runtimeMetrics(registry);
  return registry;
};

/** It listens for HTTP alone. */
type NoListeners = Readonly<Record<never, never>>;

/** Starts the operator. Rejects with a MillraceError before it acts. */
export const startOperator = (
  resolved: Resolved<typeof operatorSchema>,
  { logger, droppedLogLines, signal }: Launch,
): Promise<RunningServer<NoListeners>> => {
  const { values } = resolved;
  const config = configOf(values.kubeconfig);
  const [clock, random, identity] = [nodeClock(), nodeRandom(), identityOf()];
  const metrics = processMetrics(droppedLogLines);
  const counts = runtimeMetrics(metrics.registry);
  const kubernetes = new KubernetesClient({ config, clock, fieldManager });
  const api = measured(kubernetes, clock, counts);
  const connections = connectionsTo(values["cluster-timeout"], logger);
  const election = new LeaderElection({
    ...{ api, clock, random, logger, metrics: counts, identity },
    lease: {
      namespace: values["lease-namespace"] || ownNamespace(config),
      name: values["lease-name"],
    },
    onLeading: () => void parts.manager.reconcile(),
    onLost: endProcess,
  });
  const isElected = values["leader-election"];
  const namespace = values["watch-namespace"];
  const parts = makeParts({
    ...{ clock, random, logger, metrics: counts, identity },
    api: isElected ? fenced(api, () => election.isLeading) : api,
    ...(namespace === "" ? {} : { namespace }),
    defaultImage: values.image,
    brokersOf: (cluster) => {
      const client = connections.to(cluster);
      return client && clientBrokers(client, identity);
    },
    topicsOf: (cluster) => {
      const client = connections.to(cluster);
      return client && clientTopics(client);
    },
    onClusterGone: (cluster) => connections.forget(cluster),
  });
  metrics.registry.onCollect(() => parts.manager.report());
  const surroundings = {
    ...{ schema: operatorSchema, resolved, directory: undefined, metrics, logger },
    isAlive: () => parts.manager.aliveWithin(aliveMs),
  };
  return startServer(surroundings, async ({ onServing, onWaiting }, undo) => {
    undo.add(() => kubernetes.close());
    undo.add(() => connections.close());
    undo.add(() => election.stop());
    // Before the lease is handed on: nothing is written after that.
    undo.add(() => parts.manager.stop());
    onWaiting("waiting for the API server: its answers fill the caches");
    parts.manager.watch();
    await untilAborted(parts.synced, signal);
    if (isElected) election.start();
    else void parts.manager.reconcile();
    onServing(true);
    return { endpoints: {}, stop: async () => onServing(false) };
  });
};

/** Rejects with the signal's reason when it is aborted first. */
const untilAborted = async (work: Promise<unknown>, signal: AbortSignal): Promise<void> => {
  const { promise, reject } = Promise.withResolvers<never>();
  const end = (): void => reject(signal.reason);
  if (signal.aborted) end();
  signal.addEventListener("abort", end, { once: true });
  try {
    await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", end);
  }
};

/** The operator as a command line. */
export const operatorProgram: Program<typeof operatorSchema, NoListeners> = {
  service: "operator",
  schema: operatorSchema,
  usage: "node operator/src/main.ts [flags]",
  about:
    "Starts the operator: it makes BrokerPools and Topics of Millrace clusters on Kubernetes true. " +
    "The kinds are those of the chart deploy/helm/millrace-crds.",
  example: [
    "Example:",
    "  node operator/src/main.ts --kubeconfig ~/.kube/config --watch-namespace events",
  ],
  start: startOperator,
  title: () => "Millrace operator",
};

/**
 * A kind for tests of the runtime: each has a ConfigMap of its own, and one elsewhere that it does
 * not own and cleans up itself.
 */
import { Applier } from "../apply.ts";
import { type Condition, mergeConditions, type WantedCondition } from "../conditions.ts";
import { Controller, type ReconcileContext, type ReconcileDone } from "../controller.ts";
import { TerminalError } from "../errors.ts";
import { EventRecorder } from "../events.ts";
import { fenced } from "../fenced.ts";
import { ensureFinalizer, hasFinalizer, isBeingDeleted, removeFinalizer } from "../finalizers.ts";
import { Informer } from "../informer.ts";
import type { KubernetesApi, KubernetesObject, ObjectKey, ResourceType } from "../kubernetes.ts";
import { LeaderElection } from "../leader.ts";
import { Manager } from "../manager.ts";
import { controllerReference } from "../owners.ts";
import type { Process, Scenario } from "./crash-points.ts";
import type { FakeServer } from "./fake-api/server.ts";

export interface Demo extends KubernetesObject {
  readonly spec: { readonly text: string };
  readonly status?: {
    readonly observedGeneration: number;
    readonly conditions: readonly Condition[];
  };
}

export interface ConfigMap extends KubernetesObject {
  readonly data: Readonly<Record<string, string>>;
}

export const demoType: ResourceType<Demo> = {
  ...{ group: "demo.millrace.dev", version: "v1", kind: "Demo", plural: "demos" },
  namespaced: true,
};
export const configMapType: ResourceType<ConfigMap> = {
  ...{ group: "", version: "v1", kind: "ConfigMap", plural: "configmaps", namespaced: true },
};

const finalizer = "demo.millrace.dev/elsewhere";
/** Where the ConfigMaps are that nobody owns. */
const elsewhere = "elsewhere";

const configMap = (metadata: ConfigMap["metadata"], text: string): ConfigMap => ({
  ...{ apiVersion: "v1", kind: "ConfigMap" },
  metadata,
  // A key for each word: a text that has fewer words has to lose keys.
  data: Object.fromEntries(text.split(" ").map((word) => [word, "yes"])),
});

export class DemoOperator {
  readonly manager: Manager;
  readonly demos: Informer<Demo>;
  readonly children: Informer<ConfigMap>;
  readonly #process: Process;
  readonly #applier: Applier;
  readonly #events: EventRecorder;
  readonly #election: LeaderElection;
  readonly #elects: boolean;

  /** Without an election it leads at once: runs of many seeds are quicker so. */
  constructor(process: Process, elects: boolean) {
    this.#process = process;
    this.#elects = elects;
    const { clock, random, logger, identity } = process;
    this.#election = new LeaderElection({
      ...{ api: process.api, clock, random, logger, identity },
      lease: { namespace: "millrace", name: "operator" },
      onLeading: () => void this.manager.reconcile(),
      onLost: () => process.exit(),
    });
    const api = fenced(process.api, () => !elects || this.#election.isLeading);
    const shared = { api, clock, random, logger, relistMs: 120_000 };
    this.demos = new Informer({ ...shared, type: demoType });
    this.children = new Informer({ ...shared, type: configMapType, namespace: "default" });
    this.#applier = new Applier({ fieldManager: "demo" });
    this.#events = new EventRecorder({
      ...{ api, clock, logger, controller: "demo", instance: identity },
    });
    const controller = new Controller({
      ...{ name: "demo", api, clock, random, logger, primary: this.demos },
      reconcile: (key, context) => this.#reconcile(key, context),
      onTerminal: (key, error, { api: own }) => this.#refuse(own, key, error),
    }).owns(this.children);
    this.manager = new Manager([this.demos, this.children], [controller]);
  }

  start(): void {
    this.manager.watch();
    if (this.#elects) this.#election.start();
    else void this.manager.reconcile();
  }

  async #reconcile(key: ObjectKey, { api }: ReconcileContext): Promise<ReconcileDone> {
    const cached = this.demos.get(key);
    if (cached === undefined) return {};
    if (isBeingDeleted(cached)) return this.#cleanUp(cached, api);
    if (cached.spec.text === "") throw new TerminalError("NoText", "spec.text is empty: set it");
    const demo = await ensureFinalizer(api, demoType, cached, finalizer);
    const { name } = demo.metadata;
    const own = {
      name,
      namespace: "default",
      ownerReferences: [controllerReference(demoType, demo)],
    };
    const child = configMap(own, demo.spec.text);
    await this.#applier.apply(api, configMapType, child, this.children.get(key));
    const other = { namespace: elsewhere, name };
    const outside = await api.get(configMapType, other);
    await this.#applier.apply(api, configMapType, configMap(other, "one"), outside);
    await this.#say(api, demo, {
      type: "Ready",
      status: "True",
      reason: "Made",
      message: "All is made.",
    });
    return {};
  }

  async #cleanUp(demo: Demo, api: KubernetesApi): Promise<ReconcileDone> {
    if (!hasFinalizer(demo, finalizer)) return {};
    const key = { namespace: elsewhere, name: demo.metadata.name };
    const outside = await api.get(configMapType, key);
    const uid = outside?.metadata.uid;
    if (uid !== undefined) await api.delete(configMapType, key, { uid });
    await removeFinalizer(api, demoType, demo, finalizer);
    return {};
  }

  async #refuse(
    api: KubernetesApi,
    key: ObjectKey,
    { reason, message }: TerminalError,
  ): Promise<void> {
    const demo = this.demos.get(key);
    if (demo === undefined) return;
    await this.#say(api, demo, { type: "Ready", status: "False", reason, message });
  }

  async #say(api: KubernetesApi, demo: Demo, condition: WantedCondition): Promise<void> {
    const { generation = 0 } = demo.metadata;
    if (demo.status?.observedGeneration !== generation) {
      const { reason, message: note } = condition;
      await this.#events.emit(demo, { type: "Normal", reason, action: "Reconcile", note });
    }
    const { clock } = this.#process;
    const statusOf = ({ status }: Demo): Demo["status"] => ({
      observedGeneration: generation,
      conditions: mergeConditions(status?.conditions ?? [], [condition], generation, clock),
    });
    await this.#applier.applyStatus(api, demoType, demo, statusOf);
  }
}

const keyOf = (name: string): ObjectKey => ({ namespace: "default", name });

const edit = (server: FakeServer, name: string, text: string): void => {
  const demo = server.get(demoType, keyOf(name));
  if (demo !== undefined) server.replace(demoType, { ...demo, spec: { text } });
};

const demoOf = (name: string, text: string): Demo => ({
  ...{ apiVersion: "demo.millrace.dev/v1", kind: "Demo" },
  metadata: { ...keyOf(name) },
  spec: { text },
});

/** What people do: make, change, drift, delete, make anew. */
const drive: Scenario["drive"] = async (server, sleep) => {
  server.create(demoType, demoOf("a", "one two three"));
  server.create(demoType, demoOf("b", "one"));
  await sleep(30_000);
  edit(server, "a", "one four");
  const child = server.get(configMapType, keyOf("b"));
  if (child !== undefined) {
    server.replace(configMapType, { ...child, data: { one: "drifted", theirs: "stays" } });
  }
  await sleep(20_000);
  server.delete(demoType, keyOf("b"), {});
  server.delete(configMapType, keyOf("a"), {});
  server.create(demoType, demoOf("c", ""));
  await sleep(20_000);
  edit(server, "c", "five");
  await sleep(5000);
  edit(server, "a", "six");
  await sleep(20_000);
};

const isDone: Scenario["isDone"] = (server) => {
  const isReady = (name: string): boolean => {
    const demo = server.get(demoType, keyOf(name));
    const { generation = -1 } = demo?.metadata ?? {};
    const [ready] = demo?.status?.conditions ?? [];
    return ready?.status === "True" && ready.observedGeneration === generation;
  };
  return isReady("a") && isReady("c") && server.get(demoType, keyOf("b")) === undefined;
};

/** What must hold after every write of anybody. */
const check: Scenario["check"] = (server) => {
  const { objects } = server;
  for (const [id, object] of objects) {
    const { name, namespace } = object.metadata;
    if (!id.startsWith("configmaps ") || namespace !== elsewhere) continue;
    const demo = server.get(demoType, keyOf(name));
    if (demo !== undefined && hasFinalizer(demo, finalizer)) continue;
    throw new Error(`nobody would clean up ${id}`);
  }
  for (const object of objects.values()) {
    const { metadata, status } = object as Demo;
    if (status === undefined || object.kind !== "Demo") continue;
    const { generation = 0 } = metadata;
    if (status.observedGeneration > generation) throw new Error(`${metadata.name} runs ahead`);
  }
};

/** Everything but times, versions, counts, and the numbers that the server gives. */
const state: Scenario["state"] = (server) =>
  [...server.objects.entries()]
    .filter(([id]) => !id.startsWith("leases.") && !id.startsWith("events."))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([id, object]) => {
      const { status, data } = object as Demo & Partial<ConfigMap>;
      const { generation, finalizers, ownerReferences, annotations } = object.metadata;
      const owners = ownerReferences?.map(({ kind, name }) => `${kind} ${name}`);
      const conditions = status?.conditions.map(({ lastTransitionTime: _time, ...rest }) => rest);
      return {
        id,
        generation,
        finalizers,
        owners,
        hasHash: annotations !== undefined,
        conditions,
        data,
      };
    });

const scenario = (elects: boolean): Scenario => ({
  start: (process) => new DemoOperator(process, elects).start(),
  ...{ drive, isDone, check, state },
});

export const demoScenario = scenario(false);
export const electedDemoScenario = scenario(true);

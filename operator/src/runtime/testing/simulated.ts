/** One process and its API server in virtual time, for tests of single parts. */
import { silentLogger } from "@millrace/env";
import { Incarnation, Kernel } from "@millrace/sim";
import type { KubernetesObject, ResourceType } from "../kubernetes.ts";
import { FakeConnection } from "./fake-api/connection.ts";
import { type Faults, noFaults } from "./fake-api/faults.ts";
import { FakeServer } from "./fake-api/server.ts";

export interface Thing extends KubernetesObject {
  readonly spec: { readonly size: number; readonly colors?: Readonly<Record<string, string>> };
  readonly status?: Readonly<Record<string, unknown>>;
}

export const thingType: ResourceType<Thing> = {
  ...{ group: "test.millrace.dev", version: "v1", kind: "Thing", plural: "things" },
  namespaced: true,
};

export const thingKey = (name: string) => ({ namespace: "n", name });

export const thing = (
  name: string,
  size = 1,
  metadata: Partial<Thing["metadata"]> = {},
): Thing => ({
  ...{ apiVersion: "test.millrace.dev/v1", kind: "Thing" },
  metadata: { ...thingKey(name), ...metadata },
  spec: { size },
});

export const simulated = (seed = 1) => {
  const kernel = new Kernel(seed);
  const people = new Incarnation(kernel, "people").clock();
  const server = new FakeServer(
    () => people.wallMs(),
    (run) => void kernel.schedule(20, run, "server"),
  );
  let faults: Faults = noFaults;
  /** A process with its own connection. */
  const process = (name: string) => {
    const life = new Incarnation(kernel, name);
    const api = new FakeConnection({ server, kernel, life, faults: () => faults });
    return { life, api, clock: life.clock(), random: kernel.random, logger: silentLogger };
  };
  const fail = (some: Partial<Faults>): void => {
    faults = { ...noFaults, ...some };
  };
  const pass = (ms: number): Promise<void> => kernel.run(people.sleep(ms));
  return { kernel, server, process, fail, pass, people };
};

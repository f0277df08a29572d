/** What happens to one group coordinator, while everything else goes on. */
import { keys } from "@millrace/metadata";
import type { GroupMachine } from "./group-machine.ts";
import type { Disturbance, Scene } from "./scene.ts";
import { noTrouble } from "./store-link.ts";

export const coordinatorTroubles = [
  "coordinator alone",
  "coordinator deaf",
  "coordinator dies",
  "coordinator hangs",
  "coordinator mute",
  "coordinator without brokers",
  "coordinator without store",
  "coordinator's lease",
] as const;

export type CoordinatorTrouble = (typeof coordinatorTroubles)[number];

/** A connection to one that is gone is given up, and its lease has ended, ms. */
const leaseMs = 10_000;

const links = (scene: Scene, kind: CoordinatorTrouble, host: string): Disturbance => {
  const { brokers, clients, network } = scene;
  const to = brokers.map((broker) => broker.host);
  const all = kind === "coordinator without brokers" ? to : [...to, ...clients];
  if (kind === "coordinator deaf") network.cut(all, host);
  else if (kind === "coordinator mute") network.cut(host, all);
  else network.partition(host, all);
  return { end: () => network.heal(host, all) };
};

const expire = async ({ kernel, store }: Scene, machine: GroupMachine): Promise<Disturbance> => {
  if (await store.expire(keys.coordinator(machine.coordinatorId)))
    kernel.marks.sometimes("store: a group coordinator's lease ends");
  return { end: () => {} };
};

export const coordinatorTrouble = (
  scene: Scene,
  kind: CoordinatorTrouble,
): Disturbance | Promise<Disturbance> => {
  const { groupCoordinators, random } = scene;
  const machine = random.pick(groupCoordinators);
  const msMin = random.chance(0.3) ? leaseMs : 0;
  if (kind === "coordinator's lease") return expire(scene, machine);
  if (kind === "coordinator hangs") {
    machine.pause();
    return { msMin, end: () => machine.resume() };
  }
  if (kind === "coordinator without store") {
    machine.trouble.isCut = true;
    return { msMin, end: () => void Object.assign(machine.trouble, noTrouble) };
  }
  if (kind !== "coordinator dies") return { msMin, ...links(scene, kind, machine.host) };
  if (!machine.isRunning) return { end: () => {} };
  machine.crash("process");
  // Its own loop of crashes may have it, too: then that starts it again.
  return { end: () => (machine.isRunning ? undefined : machine.start()) };
};

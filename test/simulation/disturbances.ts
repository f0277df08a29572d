/** Trouble of links, processes and the way to the store, one after the other. */
import { decodeRecord, keys } from "@millrace/metadata";
import { blindLeader } from "./blind-leader.ts";
import type { ControllerMachine } from "./controller-machine.ts";
import {
  type CoordinatorTrouble,
  coordinatorTrouble,
  coordinatorTroubles,
} from "./coordinator-trouble.ts";
import type { Faults } from "./faults.ts";
import type { Machine } from "./machine.ts";
import type { Disturbance, Scene } from "./scene.ts";
import { noTrouble, type StoreTrouble } from "./store-link.ts";

/** Longer than a watch waits for its link, ms. */
const watchesLostMs = 6_000;

const kindsOf = (faults: Faults, hasCoordinators: boolean) => [
  ...(faults.links ? (["cut", "partition", "lose", "stall"] as const) : []),
  ...(faults.clientLinks ? (["client"] as const) : []),
  ...(faults.pauses ? (["pause"] as const) : []),
  ...(faults.store
    ? (["store cut", "store slow", "store loses answers", "store down"] as const)
    : []),
  ...(faults.leases ? (["lease"] as const) : []),
  ...(faults.compactions ? (["compaction"] as const) : []),
  ...(faults.blindLeaders ? (["blind leader"] as const) : []),
  ...(faults.controllers
    ? (["controller deaf", "controller mute", "controller alone", "controller hangs"] as const)
    : []),
  ...(faults.controllers
    ? (["controller without store", "controller dies", "controller blind"] as const)
    : []),
  ...(hasCoordinators ? coordinatorTroubles : []),
];

const isOfCoordinator = (kind: Kind): kind is CoordinatorTrouble =>
  coordinatorTroubles.some((one) => one === kind);

type Kind = ReturnType<typeof kindsOf>[number];

export class Disturbances {
  readonly #scene: Scene;
  readonly #kinds: readonly Kind[];

  constructor(scene: Scene) {
    this.#scene = scene;
    this.#kinds = kindsOf(scene.faults, scene.groupCoordinators.length > 0);
  }

  get areAny(): boolean {
    return this.#kinds.length > 0;
  }

  /** Something that the seed allows. */
  async begin(): Promise<Disturbance> {
    const { brokers, controllers, groupCoordinators, kernel, random } = this.#scene;
    const kind = random.pick(this.#kinds);
    const machines: Machine[] = [...brokers, ...controllers, ...groupCoordinators];
    const machine = random.pick(machines);
    const active = await this.#active();
    kernel.marks.sometimes(`fault: ${kind}`);
    kernel.trace(`fault: ${kind}`);
    if (isOfCoordinator(kind)) return coordinatorTrouble(this.#scene, kind);
    switch (kind) {
      case "pause":
        return this.#pause(machine);
      case "store down":
        return this.#storeTrouble(machines, { isCut: true });
      case "store cut":
        return this.#storeTrouble([machine], { isCut: true });
      case "store slow":
        return this.#storeTrouble([machine], { delayMs: 400 });
      case "store loses answers":
        return this.#storeTrouble([machine], { lostAnswers: 0.5 });
      case "lease":
        return this.#expireLease();
      case "compaction":
        return this.#compaction(machines);
      case "blind leader":
        return blindLeader(this.#scene);
      case "cut":
      case "partition":
      case "lose":
      case "stall":
      case "client":
        return this.#links(kind, machine);
      default:
        return this.#controllerTrouble(kind, active ?? random.pick(controllers));
    }
  }

  /** The machine of the active controller, where controllers have machines of their own. */
  async #active(): Promise<ControllerMachine | undefined> {
    const { controllers, store } = this.#scene;
    if (controllers.length === 0) return undefined;
    const [kv] = (await store.data.range({ key: keys.controller })).kvs;
    return kv && controllers[decodeRecord.controller(kv).controllerId];
  }

  #pause(machine: Machine): Disturbance {
    machine.pause();
    return { end: () => machine.resume() };
  }

  #links(kind: "cut" | "partition" | "lose" | "stall" | "client", machine: Machine): Disturbance {
    const { brokers, clients, controllers, groupCoordinators, network, random } = this.#scene;
    const others = [...brokers, ...controllers, ...groupCoordinators].filter(
      (one) => one !== machine,
    );
    const hosts = others.map(({ host }) => host);
    const to = kind === "client" ? clients : random.chance(0.5) ? hosts : random.pick(hosts);
    if (kind === "partition" || kind === "client") network.partition(machine.host, to);
    else {
      const [a, b] = random.chance(0.5) ? [machine.host, to] : [to, machine.host];
      if (kind === "cut") network.cut(a, b);
      else if (kind === "stall") network.stall(a, b);
      else network.lose(a, b, 0.3);
    }
    return { end: () => network.heal(machine.host, to) };
  }

  /** What happens to the one controller that matters, while brokers go on. */
  #controllerTrouble(kind: Kind, machine: ControllerMachine): Disturbance | Promise<Disturbance> {
    const { brokers, network, random } = this.#scene;
    const { host } = machine;
    const all = brokers.map((broker) => broker.host);
    const to = random.chance(0.7) ? all : [random.pick(all)];
    if (kind === "controller hangs") return this.#pause(machine);
    if (kind === "controller without store") return this.#storeTrouble([machine], { isCut: true });
    if (kind === "controller dies") return this.#killed(machine);
    if (kind === "controller blind") return this.#blinded(machine);
    if (kind === "controller deaf") network.cut(to, host);
    else if (kind === "controller mute") network.cut(host, to);
    else network.partition(host, to);
    return { end: () => network.heal(host, to) };
  }

  /** It does not see that another one is elected, and a broker dies: it may decide no more. */
  async #blinded(machine: ControllerMachine): Promise<Disturbance> {
    const { brokers, random, store } = this.#scene;
    const sight = this.#storeTrouble([machine], { isBlind: true });
    await store.expire(keys.controller);
    const death = this.#killed(random.pick(brokers));
    const end = async (): Promise<void> => {
      await sight.end();
      await death.end();
    };
    return { end };
  }

  /** Its own loop of crashes may have it, too: then that starts it again. */
  #killed(machine: Machine): Disturbance {
    if (!machine.isRunning) return { end: () => {} };
    machine.crash("process");
    return { end: () => (machine.isRunning ? undefined : machine.start()) };
  }

  async #expireLease(): Promise<Disturbance> {
    const { brokers, kernel, random, store } = this.#scene;
    const { marks } = kernel;
    const end = (): void => {};
    if (random.chance(0.4)) {
      if (await store.expire(keys.controller))
        marks.sometimes("store: the controller's lease ends");
      return { end };
    }
    const { brokerId } = random.pick(brokers);
    const { kvs } = await store.data.range({ prefix: keys.partitions });
    const leads = kvs.some((kv) => decodeRecord.partition(kv).leader === brokerId);
    if (!(await store.expire(keys.broker(brokerId)))) return { end };
    marks.sometimes("store: a broker's lease ends");
    if (leads) marks.sometimes("store: a leader's lease ends");
    return { end };
  }

  /** Some miss what happens, and the store has forgotten it once they reach it again. */
  #compaction(machines: readonly Machine[]): Disturbance {
    const { random, store } = this.#scene;
    const some = machines.filter(() => random.chance(0.5));
    const trouble = this.#storeTrouble(some, { isCut: true });
    const end = async (): Promise<void> => {
      await store.forgetHistory();
      await trouble.end();
    };
    return { msMin: random.chance(0.8) ? watchesLostMs : 0, end };
  }

  #storeTrouble(machines: readonly Machine[], trouble: Partial<StoreTrouble>): Disturbance {
    for (const machine of machines) Object.assign(machine.trouble, trouble);
    const end = (): void => {
      for (const machine of machines) Object.assign(machine.trouble, noTrouble);
    };
    return { end };
  }
}

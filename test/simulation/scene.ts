/** What disturbances work on, and what one is. */
import type { Kernel, SeededRandom, SimNetwork } from "@millrace/sim";
import type { BrokerMachine } from "./broker-machine.ts";
import type { ControllerMachine } from "./controller-machine.ts";
import type { Faults } from "./faults.ts";
import type { GroupMachine } from "./group-machine.ts";
import type { SimStore } from "./sim-store.ts";

export interface Scene {
  readonly kernel: Kernel;
  readonly random: SeededRandom;
  readonly network: SimNetwork;
  readonly store: SimStore;
  readonly faults: Faults;
  readonly brokers: readonly BrokerMachine[];
  /** Machines that are controllers and nothing else. */
  readonly controllers: readonly ControllerMachine[];
  /** Machines that are group coordinators; most seeds have none. */
  readonly groupCoordinators: readonly GroupMachine[];
  /** Hosts of clients. */
  readonly clients: readonly string[];
  readonly sleep: (ms: number) => Promise<void>;
}

/** One disturbance. `end` ends it. */
export interface Disturbance {
  /** It lasts at least this long, ms. */
  readonly msMin?: number;
  end(): unknown;
}

/** A machine with a controller on it, and nothing else. */
import { boot } from "@millrace/controller/process";
import type { Incarnation } from "@millrace/sim";
import { Machine, type Served, type Shared } from "./machine.ts";

export class ControllerMachine extends Machine {
  readonly controllerId: number;
  /** As its data directory remembers it. */
  #clusterId: string | undefined;

  constructor(shared: Shared, controllerId: number) {
    super(shared, `c${controllerId}`);
    this.controllerId = controllerId;
  }

  protected override boot(process: Incarnation): Promise<Served> {
    const { network, random, replicationFactor } = this.shared;
    const { controllerId, host } = this;
    const { dialer, listener } = network.attach(host, process);
    const at = (port: number) => ({ listener, endpoint: `${host}:${port}` });
    return boot({
      ...{ dialer, controllerId, store: this.storeOf(process, controllerId) },
      ...(this.#clusterId === undefined ? {} : { wantedClusterId: this.#clusterId }),
      onCluster: (clusterId) => {
        this.#clusterId = clusterId;
      },
      env: { clock: process.clock(), random, logger: this.logger() },
      defaultReplicationFactor: replicationFactor,
      listeners: { client: at(7400), internal: at(7401), health: at(7402), graceMs: 1000 },
      advertise: ({ client, internal }) => ({
        ...{ clientEndpoint: client, internalEndpoint: internal },
      }),
    });
  }
}

/** A machine with a group coordinator on it, and nothing else. */
import { boot } from "@millrace/group-coordinator/process";
import { syncCompressor } from "@millrace/record/node";
import type { Incarnation } from "@millrace/sim";
import type { AppendTap } from "./groups/append-tap.ts";
import { Machine, type Served, type Shared } from "./machine.ts";

/** Offsets are kept so long, ms: longer than any run, whatever the clocks say. */
const offsetsRetentionMs = 3_600_000;
/** No controller has this id: one that decides anything here is found. */
const noController = -1;
/** Farthest that a wall clock is from where it should be, ms. */
const skewMsMax = 600_000;

export class GroupMachine extends Machine {
  readonly coordinatorId: number;
  readonly #tap: AppendTap;
  /** As its data directory remembers it. */
  #clusterId: string | undefined;

  constructor(shared: Shared, coordinatorId: number, tap: AppendTap) {
    super(shared, `g${coordinatorId}`);
    this.coordinatorId = coordinatorId;
    this.#tap = tap;
  }

  protected override boot(process: Incarnation): Promise<Served> {
    const { network, random } = this.shared;
    const { coordinatorId, host } = this;
    const { dialer, listener } = network.attach(host, process);
    const at = (port: number) => ({ listener, endpoint: `${host}:${port}` });
    const clock = process.clock();
    const skewMs = random.chance(0.3) ? (random.float() * 2 - 1) * skewMsMax : 0;
    const wallMs = (): number => clock.wallMs() + Math.floor(skewMs);
    return boot({
      ...{ dialer: this.#tap.dialer(dialer, host), coordinatorId, offsetsRetentionMs },
      store: this.storeOf(process, noController),
      ...(this.#clusterId === undefined ? {} : { wantedClusterId: this.#clusterId }),
      onCluster: (clusterId) => {
        this.#clusterId = clusterId;
      },
      env: {
        clock: { ...clock, wallMs },
        random,
        compressor: syncCompressor,
        logger: this.logger(),
      },
      listeners: { client: at(7400), internal: at(7401), health: at(7402), graceMs: 1000 },
      advertise: ({ client, internal }) => ({
        ...{ clientEndpoint: client, internalEndpoint: internal },
      }),
    });
  }
}

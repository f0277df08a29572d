/** Where all replicas are while a plan is made. */
import { assert, must } from "@millrace/errors";
import type { BrokerShare, PlannedBroker, PlanRequest } from "./types.ts";

const isKept = ({ isActive, keeps = false }: PlannedBroker): boolean => isActive || keeps;

/** A broker, and what it has so far. */
export interface Seat {
  readonly broker: PlannedBroker;
  /** Brokers in one rack have one; a broker in none has its own. */
  readonly rack: string;
  /** Indexes of partitions with a replica here, and of those that are to be led here. */
  readonly partitions: Set<number>;
  readonly led: Set<number>;
  bytes: number;
  /** Rises when a partition that has a replica here changes. */
  version: number;
}

export class Board {
  readonly seats: ReadonlyMap<number, Seat>;
  readonly active: readonly Seat[];
  /** Replicas of each partition now. */
  readonly replicas: number[][];
  readonly #request: PlanRequest;
  /** Racks of brokers that keep what they have, as numbers. */
  readonly #racks = new Map<number, number>();
  readonly #rackCount: number;
  readonly #bytes: Float64Array;
  readonly #missing: Int32Array;
  /** Racks with several active brokers. */
  readonly #sharedRacks: readonly number[];
  /** By broker and rack, its partitions that could go there: saves a look at all of them. */
  readonly #open = new Map<number, Int32Array>();

  constructor(request: PlanRequest) {
    this.#request = request;
    this.seats = new Map(
      request.brokers.map((broker) => [
        broker.id,
        {
          ...{ broker, rack: broker.rack === "" ? `#${broker.id}` : `=${broker.rack}` },
          ...{ partitions: new Set<number>(), led: new Set<number>(), bytes: 0, version: 0 },
        },
      ]),
    );
    this.active = [...this.seats.values()].filter(({ broker }) => broker.isActive);
    this.#rackCount = new Set(this.active.map(({ rack }) => rack)).size;
    const staying = [...this.seats.values()].filter(({ broker }) => isKept(broker));
    const racks = [...new Set(staying.map(({ rack }) => rack))];
    for (const { broker, rack } of staying) this.#racks.set(broker.id, racks.indexOf(rack));
    const counts = new Int32Array(racks.length);
    for (const { rack } of this.active)
      counts[racks.indexOf(rack)] = (counts[racks.indexOf(rack)] ?? 0) + 1;
    this.#sharedRacks = [...counts.keys()].filter((rack) => (counts[rack] ?? 0) > 1);
    for (const id of this.seats.keys()) this.#open.set(id, new Int32Array(racks.length));
    this.replicas = request.partitions.map(({ replicas }) => [...replicas]);
    this.#bytes = Float64Array.from(request.partitions, ({ bytes }) => bytes);
    this.#missing = Int32Array.from(this.replicas, (_, p) => this.racksMissingWith(p, -1, -1));
    for (const [p, replicas] of this.replicas.entries()) {
      assert(new Set(replicas).size === replicas.length, "a broker has a partition once");
      for (const id of replicas) this.#take(p, id);
      const [leader] = replicas;
      if (leader !== undefined) this.seats.get(leader)?.led.add(p);
      this.#countOpen(p, 1);
    }
  }

  seat(id: number): Seat {
    return must(this.seats.get(id), "seat of a broker");
  }

  bytesOf(p: number): number {
    return this.#bytes[p] ?? 0;
  }

  /** Replicas on brokers that may not have them, or are not there. */
  isMisplaced(id: number): boolean {
    const seat = this.seats.get(id);
    return seat === undefined || !isKept(seat.broker);
  }

  /** Whether a broker may get replicas. */
  isActive(id: number): boolean {
    return this.seats.get(id)?.broker.isActive === true;
  }

  isFixed(p: number): boolean {
    return this.#request.partitions[p]?.isFixed === true;
  }

  /** Racks that a partition lacks, of those that its replicas could be in. */
  racksMissing(p: number): number {
    return this.#missing[p] ?? 0;
  }

  /** The same with one replica elsewhere. */
  racksMissingWith(p: number, from: number, to: number): number {
    return this.#racksMissingIn(p, from, this.#racks.get(to));
  }

  #racksMissingIn(p: number, from: number, to: number | undefined): number {
    const replicas = must(this.replicas[p], "replicas");
    // Of a handful of replicas each is compared with those before it: this is asked all the time.
    let racks = 0;
    for (let i = 0; i < replicas.length; i += 1) {
      const rack = this.#rackAt(replicas, i, from, to);
      if (rack === undefined) continue;
      let isNew = true;
      for (let j = 0; j < i && isNew; j += 1) isNew = this.#rackAt(replicas, j, from, to) !== rack;
      if (isNew) racks += 1;
    }
    // Brokers that get nothing may be in further racks.
    return Math.max(0, Math.min(replicas.length, this.#rackCount) - racks);
  }

  #rackAt(
    replicas: readonly number[],
    i: number,
    from: number,
    to: number | undefined,
  ): number | undefined {
    const id = replicas[i] ?? -1;
    return id === from ? to : this.#racks.get(id);
  }

  #countOpen(p: number, by: 1 | -1): void {
    for (const id of this.replicas[p] ?? []) {
      const open = this.#open.get(id);
      if (open === undefined) continue;
      for (const rack of this.#sharedRacks) {
        if (this.#racksMissingIn(p, id, rack) > this.racksMissing(p)) continue;
        open[rack] = (open[rack] ?? 0) + by;
      }
    }
  }

  /** False where no partition of a broker may go to the rack of another one. */
  mayGive(from: Seat, to: Seat): boolean {
    const rack = this.#racks.get(to.broker.id);
    if (rack === undefined || !this.#sharedRacks.includes(rack)) return true;
    return (this.#open.get(from.broker.id)?.[rack] ?? 0) > 0;
  }

  /** Whether a seat has room for so many more replicas and bytes. */
  hasRoom({ broker, bytes, partitions }: Seat, replicas: number, moreBytes: number): boolean {
    const { replicasMax } = this.#request;
    return partitions.size + replicas <= replicasMax && bytes + moreBytes <= broker.bytesMax;
  }

  /** Whether a replica may go from one broker to another and leave no hard goal worse. */
  canMove(p: number, from: number, to: Seat): boolean {
    const replicas = must(this.replicas[p], "replicas");
    if (this.isFixed(p) || !to.broker.isActive) return false;
    if (replicas.includes(to.broker.id)) return false;
    if (!this.hasRoom(to, 1, this.bytesOf(p))) return false;
    return this.racksMissingWith(p, from, to.broker.id) <= this.racksMissing(p);
  }

  /** The replica takes the place of the other one, also as the preferred leader. */
  move(p: number, from: number, to: number): void {
    const replicas = must(this.replicas[p], "replicas");
    const at = replicas.indexOf(from);
    assert(at >= 0 && !replicas.includes(to), "a replica moves to a broker without one");
    this.#countOpen(p, -1);
    for (const id of [...replicas, to]) {
      const touched = this.seats.get(id);
      if (touched !== undefined) touched.version += 1;
    }
    replicas[at] = to;
    const seat = this.seats.get(from);
    if (seat?.partitions.delete(p) === true) seat.bytes -= this.bytesOf(p);
    this.#take(p, to);
    this.#missing[p] = this.racksMissingWith(p, -1, -1);
    this.#countOpen(p, 1);
    if (at > 0) return;
    seat?.led.delete(p);
    this.seat(to).led.add(p);
  }

  /** Another replica becomes the preferred leader. */
  lead(p: number, id: number): void {
    const replicas = must(this.replicas[p], "replicas");
    const at = replicas.indexOf(id);
    assert(at >= 0, "a replica leads");
    const before = must(replicas[0], "a leader");
    replicas[at] = before;
    replicas[0] = id;
    this.seats.get(before)?.led.delete(p);
    this.seat(id).led.add(p);
  }

  shares(): BrokerShare[] {
    return [...this.seats.values()].map(({ broker, bytes, led, partitions }) => ({
      ...{ id: broker.id, replicas: partitions.size, leaders: led.size, bytes },
    }));
  }

  #take(p: number, id: number): void {
    const seat = this.seats.get(id);
    if (seat === undefined) return;
    seat.partitions.add(p);
    seat.bytes += this.bytesOf(p);
  }
}

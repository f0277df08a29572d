/**
 * Where partitions have to go so that the most of them are at members near them: the largest flow
 * from what is free, over classes of partitions, to racks with room.
 */
import type { Pace, Steps } from "../../steps.ts";
import { type Board, nobody } from "../board.ts";
import { Counts } from "../counts.ts";
import { FlowNetwork } from "./max-flow.ts";
import type { Overfull, OverfullMember } from "./overfull.ts";
import type { Racks } from "./racks.ts";
import type { Share } from "./share.ts";

/** Room for partitions of one class in one rack. */
export interface RackPlace {
  readonly rack: number;
  left: number;
}

/** What an overfull member gives up of its marginal partitions. */
export interface Gift {
  /** By class, those that somebody near takes. */
  readonly byClass: readonly (readonly [classNumber: number, count: number])[];
  /** It gets no contested seat. */
  readonly loses: boolean;
}

export interface RackPlan {
  /** By member. */
  readonly gifts: ReadonlyMap<number, Gift>;
  /** By class, how many partitions go to each rack. Whoever places them counts down. */
  readonly places: readonly (readonly RackPlace[])[];
  /** By rack, how many members get one above the quota for that. */
  readonly extras: Counts;
}

/** Edges of which the flow is read. */
interface GiftEdges {
  readonly member: OverfullMember;
  readonly loses: number | undefined;
  readonly byClass: readonly (readonly [classNumber: number, edge: number])[];
}

class RackNetwork {
  readonly flow = new FlowNetwork();
  readonly source = this.flow.addNode();
  readonly sink = this.flow.addNode();
  readonly #classNodes: number[] = [];
  readonly #rackNodes: readonly number[];
  readonly #racks: Racks;

  constructor(racks: Racks) {
    this.#racks = racks;
    this.#rackNodes = Array.from({ length: racks.count }, () => this.flow.addNode());
  }

  /**
   * Classes, with the partitions of each that are free whatever is decided, and edges to the racks
   * that have their replicas. Returns those.
   */
  *classes(free: Counts, pace: Pace): Steps<(readonly [rack: number, edge: number])[][]> {
    const places: (readonly [rack: number, edge: number])[][] = [];
    for (const [c, racks] of this.#racks.classes.entries()) {
      if (pace.took(racks.length + 1)) yield;
      const node = this.flow.addNode();
      this.#classNodes.push(node);
      this.flow.addEdge(this.source, node, free.of(c));
      const edgeTo = (rack: number): number =>
        this.flow.addEdge(node, this.#rackNodes[rack] ?? 0, Number.MAX_SAFE_INTEGER);
      places.push(racks.map((rack) => [rack, edgeTo(rack)] as const));
    }
    return places;
  }

  *gifts({ members, losers }: Overfull, pace: Pace): Steps<GiftEdges[]> {
    const losersNode = this.flow.addNode();
    this.flow.addEdge(this.source, losersNode, losers);
    const edges: GiftEdges[] = [];
    for (const member of members) {
      const node = this.flow.addNode();
      this.flow.addEdge(this.source, node, member.must);
      const loses = member.contends ? this.flow.addEdge(losersNode, node, 1) : undefined;
      const counts = new Map<number, number>();
      for (const g of member.marginal) {
        if (pace.took()) yield;
        const c = this.#racks.classOf.of(g);
        counts.set(c, (counts.get(c) ?? 0) + 1);
      }
      const byClass = [...counts].map(([c, count]): [number, number] => [
        c,
        this.flow.addEdge(node, this.#classNodes[c] ?? 0, count),
      ]);
      edges.push({ member, loses, byClass });
    }
    return edges;
  }

  /** Room of the members of each rack: up to the quota, and above it. Returns the latter edges. */
  room({ takers, quota }: Share, loads: Counts, extras: number): number[] {
    const below = new Counts(this.#racks.count);
    const roomy = new Counts(this.#racks.count);
    for (const m of takers) {
      const rack = this.#racks.ofMember.of(m);
      if (loads.of(m) > quota) continue;
      below.add(rack, quota - loads.of(m));
      roomy.add(rack);
    }
    const extra = this.flow.addNode();
    this.flow.addEdge(extra, this.sink, extras);
    return this.#rackNodes.map((node, rack) => {
      this.flow.addEdge(node, this.sink, below.of(rack));
      return this.flow.addEdge(node, extra, roomy.of(rack));
    });
  }
}

/** Partitions by class that are free whatever is decided. */
function* freeByClass(
  { owners, partitionCount }: Board,
  { members }: Overfull,
  { classes, classOf }: Racks,
  pace: Pace,
): Steps<Counts> {
  const byClass = new Counts(classes.length);
  for (let g = 0; g < partitionCount; g += 1) {
    if (pace.took()) yield;
    if (owners.of(g) === nobody) byClass.add(classOf.of(g));
  }
  for (const { forced } of members) {
    for (const g of forced) byClass.add(classOf.of(g));
    if (pace.took(forced.length)) yield;
  }
  return byClass;
}

/** Losers of seats as the flow has them, and as many more of the last as there have to be. */
const losersOf = (flow: FlowNetwork, edges: readonly GiftEdges[], count: number): Set<number> => {
  const contenders = edges.filter(({ loses }) => loses !== undefined);
  const losers = new Set(
    contenders.filter(({ loses }) => flow.flow(loses ?? 0) > 0).map(({ member }) => member.m),
  );
  for (const { member } of contenders.reverse()) {
    if (losers.size >= count) break;
    losers.add(member.m);
  }
  return losers;
};

export function* planByRacks(
  board: Board,
  share: Share,
  loads: Counts,
  overfull: Overfull,
  racks: Racks,
  pace: Pace,
): Steps<RackPlan> {
  const network = new RackNetwork(racks);
  const { flow, source, sink } = network;
  const classes = yield* network.classes(yield* freeByClass(board, overfull, racks, pace), pace);
  const gifts = yield* network.gifts(overfull, pace);
  const extras = network.room(share, loads, Math.max(0, share.rest - overfull.members.length));
  yield* flow.maximise(source, sink, pace);
  const losers = losersOf(flow, gifts, overfull.losers);
  const byMember = new Map<number, Gift>();
  for (const { member, byClass } of gifts) {
    if (pace.took(byClass.length + 1)) yield;
    byMember.set(member.m, {
      byClass: byClass.map(([c, edge]) => [c, flow.flow(edge)] as const),
      loses: losers.has(member.m),
    });
  }
  const extrasByRack = new Counts(racks.count);
  for (const [rack, edge] of extras.entries()) extrasByRack.set(rack, flow.flow(edge));
  const places: RackPlace[][] = [];
  for (const edges of classes) {
    if (pace.took(edges.length + 1)) yield;
    places.push(edges.map(([rack, edge]) => ({ rack, left: flow.flow(edge) })));
  }
  return { gifts: byMember, places, extras: extrasByRack };
}

/** Which fault follows which, drawn from a seed. */
import { SeededRandom } from "@millrace/sim";

export const processKinds = [
  ...(["kill broker", "kill leader", "kill controller", "kill etcd"] as const),
  ...(["pause broker", "pause leader", "pause controller", "pause etcd"] as const),
  ...(["restart broker", "restart controller", "restart etcd"] as const),
  ...(["roll brokers", "roll controllers", "etcd down"] as const),
  /** Of groups. */
  ...(["kill coordinator", "pause coordinator", "restart coordinator"] as const),
  "roll coordinators",
] as const;
/** They need a network of their own. Clients reach every process all the same. */
export const linkKinds = [
  /** From all other processes. */
  ...(["cut broker", "cut controller", "cut coordinator", "cut etcd from one"] as const),
  /** A pair of brokers, in both directions. */
  "cut brokers apart",
  /** One direction between a broker and another process; connections stay open. */
  "stall link",
  "slow broker",
  /** While a broker is cut off: it has to read everything anew. */
  "compact etcd",
] as const;
/** They come while every partition has all its replicas: each takes one away for good. */
export const diskKinds = [
  /** Everything of a broker. */
  "lose disk",
  /** Of a file of a partition; `log verify` has to find it. */
  "flip bit",
  /** The directory of one partition. */
  "remove replica",
] as const;
/** They need disks of their own. */
export const roomKinds = ["fill disk"] as const;
export const faultKinds = [...processKinds, ...linkKinds, ...diskKinds, ...roomKinds] as const;
export type ProcessKind = (typeof processKinds)[number];
export type LinkKind = (typeof linkKinds)[number];
export type DiskKind = (typeof diskKinds)[number];
export type FaultKind = (typeof faultKinds)[number];

export interface Step {
  readonly kind: FaultKind;
  /**
   * Which broker, controller or partition, as a fraction: the runner maps it to what is there. A
   * leader is the leader of that partition; faults of a controller hit the active one.
   */
  readonly pick: number;
  /** The other end of a link, or what is damaged, as a fraction of what it may be. */
  readonly other: number;
  /** What is cut off is not refused: its packets vanish. A bit flips after a clean stop. */
  readonly isSilent: boolean;
  /** How long a pause, a cut or an outage lasts. 0 for every other kind. ms */
  readonly durationMs: number;
  /** Whether the cluster heals before the quiet time begins. */
  readonly heals: boolean;
  /** Time without a fault afterwards, ms. */
  readonly quietMs: number;
}

const etcdDownMs = 20_000;

export const isLinkKind = (kind: FaultKind): kind is LinkKind =>
  linkKinds.some((one) => one === kind);

export const isDiskKind = (kind: FaultKind): kind is DiskKind =>
  diskKinds.some((one) => one === kind);

export const isRoomKind = (kind: FaultKind): boolean => roomKinds.some((one) => one === kind);

const durationOf = (kind: FaultKind, random: SeededRandom): number => {
  if (kind === "etcd down") return etcdDownMs;
  const lasts = kind.startsWith("pause") || isLinkKind(kind) || isRoomKind(kind);
  return lasts ? random.between(1000, 12_000) : 0;
};

const shuffled = (kinds: readonly FaultKind[], random: SeededRandom): FaultKind[] => {
  const left: FaultKind[] = [...kinds];
  const order: FaultKind[] = [];
  while (left.length > 0) order.push(...left.splice(random.below(left.length), 1));
  return order;
};

/** Steps without end. No kind comes again before every other kind has come. */
export function* planOf(
  seed: number,
  kinds: readonly FaultKind[] = faultKinds,
): Generator<Step, never> {
  const random = new SeededRandom(seed);
  for (;;) {
    for (const kind of shuffled(kinds, random)) {
      yield {
        ...{ kind, pick: random.float(), other: random.float(), isSilent: random.chance(0.5) },
        ...{ durationMs: durationOf(kind, random) },
        ...{ heals: random.chance(0.7) || isDiskKind(kind), quietMs: random.between(1000, 5000) },
      };
    }
  }
}

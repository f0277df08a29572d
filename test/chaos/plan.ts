/** Which fault follows which, drawn from a seed. */
import { SeededRandom } from "@millrace/sim";

export const faultKinds = [
  ...(["kill broker", "kill leader", "kill controller", "kill etcd"] as const),
  ...(["pause broker", "pause leader", "pause controller", "pause etcd"] as const),
  ...(["restart broker", "restart controller", "restart etcd"] as const),
  ...(["roll brokers", "roll controllers", "etcd down"] as const),
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface Step {
  readonly kind: FaultKind;
  /**
   * Which broker, controller or partition, as a fraction: the runner maps it to what is there. A
   * leader is the leader of that partition; `kill controller` and `pause controller` hit the active
   * one.
   */
  readonly pick: number;
  /** How long a pause lasts, or how long etcd stays down. 0 for every other kind. ms */
  readonly durationMs: number;
  /** Whether the cluster heals before the quiet time begins. */
  readonly heals: boolean;
  /** Time without a fault afterwards, ms. */
  readonly quietMs: number;
}

const etcdDownMs = 20_000;

const durationOf = (kind: FaultKind, random: SeededRandom): number => {
  if (kind === "etcd down") return etcdDownMs;
  return kind.startsWith("pause") ? random.between(1000, 12_000) : 0;
};

const shuffled = (random: SeededRandom): FaultKind[] => {
  const left: FaultKind[] = [...faultKinds];
  const order: FaultKind[] = [];
  while (left.length > 0) order.push(...left.splice(random.below(left.length), 1));
  return order;
};

/** Steps without end. No kind comes again before every other kind has come. */
export function* planOf(seed: number): Generator<Step, never> {
  const random = new SeededRandom(seed);
  for (;;) {
    for (const kind of shuffled(random)) {
      yield {
        ...{ kind, pick: random.float(), durationMs: durationOf(kind, random) },
        ...{ heals: random.chance(0.7), quietMs: random.between(1000, 5000) },
      };
    }
  }
}

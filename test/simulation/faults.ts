/** What a seed lets go wrong in a cluster. */
import type { SeededRandom } from "@millrace/sim";

/** Replicas of a partition, where there are machines enough. */
export const replicationFactorMax = 3;

/** Faults that a seed switches on. */
export interface Faults {
  readonly crashes: boolean;
  readonly links: boolean;
  readonly clientLinks: boolean;
  readonly pauses: boolean;
  readonly store: boolean;
  readonly slowDisks: boolean;
  /** Connections that break, or are silent. */
  readonly connections: boolean;
  /** A machine comes back with an empty disk, while another one has everything. */
  readonly lostDisks: boolean;
  /** Records are deleted while others write: a follower that was away has to begin anew. */
  readonly deletions: boolean;
  /** Partitions move: there are more machines than replicas. */
  readonly moves: boolean;
  /** The active controller in particular is cut off, hung, or without the store. */
  readonly controllers: boolean;
  /** Leases end while their holders live on. */
  readonly leases: boolean;
  /** The store forgets its history while some cannot see it. */
  readonly compactions: boolean;
  /** The store goes back to a backup, where that loses nothing. */
  readonly restores: boolean;
  /** The store starts empty, or on another cluster's data, and later on the right ones again. */
  readonly foreignStores: boolean;
  /** A leader dies before it sees who has joined its in-sync replicas. */
  readonly blindLeaders: boolean;
  /** Other topics come and go. */
  readonly otherTopics: boolean;
}

export const chooseFaults = (random: SeededRandom, brokers: number, isApart: boolean): Faults => ({
  crashes: random.chance(0.8),
  links: random.chance(0.6),
  clientLinks: random.chance(0.4),
  pauses: random.chance(0.3),
  store: random.chance(0.5),
  slowDisks: random.chance(0.5),
  connections: random.chance(0.5),
  deletions: random.chance(0.5),
  lostDisks: brokers > 1 && random.chance(0.5),
  moves: brokers > replicationFactorMax,
  controllers: isApart && random.chance(0.6),
  leases: random.chance(0.3),
  compactions: random.chance(0.3),
  restores: random.chance(0.25),
  foreignStores: random.chance(0.15),
  otherTopics: random.chance(0.4),
  blindLeaders: random.chance(0.2),
});

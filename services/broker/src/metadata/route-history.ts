/**
 * Which routes changed when. A watcher is told of changes alone, by names and a position; one that
 * comes back is told what changed since its revision, as far back as this remembers.
 */
import type { ClusterChange, ClusterView, PartitionView, TopicView } from "./view.ts";

/**
 * A count of changes. Revisions cannot take its place: a listing may find a change at a revision
 * that watchers have been told already.
 */
export type Position = number;

/** What a watcher has to be told about a topic. */
export type TopicChange =
  | { readonly kind: "deleted" }
  /** New, made again, or with more partitions. */
  | { readonly kind: "whole"; readonly topic: TopicView }
  /** Some partitions have another leader or epoch; none, and there is nothing to tell. */
  | {
      readonly kind: "moved";
      readonly topic: TopicView;
      readonly partitions: readonly PartitionView[];
    };

/** What a change touched. */
export interface RoutesChanged {
  /** Topics whose routes changed, or that are gone. */
  readonly names: readonly string[];
  readonly brokers: boolean;
}

interface Routes {
  readonly topic: TopicView;
  /** When the topic was made, or got partitions. */
  readonly madeAt: Position;
  /** When each partition was led by another broker, or under another epoch, for the last time. */
  readonly movedAt: Position[];
}

interface Entry {
  /** The view before the change was of this revision, or of a later one below `revision`. */
  readonly after: number;
  readonly revision: number;
  readonly position: Position;
  readonly names: readonly string[];
}

const isSameRoute = (a: PartitionView | undefined, b: PartitionView): boolean =>
  a?.leader === b.leader && a?.leaderEpoch === b.leaderEpoch;

export class RouteHistory {
  readonly #view: ClusterView;
  readonly #namesMax: number;
  readonly #routes = new Map<string, Routes>();
  readonly #listeners = new Set<(change: RoutesChanged) => void>();
  /** In order; names of the oldest are forgotten first. */
  #entries: Entry[] = [];
  #names = 0;
  /** Revision since which everything is remembered. */
  #sinceRevision: number;
  /** The newest revision at which the view has been seen. */
  #seenRevision: number;
  #generation: Uint8Array;
  #position: Position = 0;
  #brokersAt: Position = 0;

  /** Remembers `namesMax` names of changed topics. */
  constructor(view: ClusterView, namesMax: number) {
    this.#view = view;
    this.#namesMax = namesMax;
    const { revision, topics, generation } = view.current;
    this.#sinceRevision = revision;
    this.#seenRevision = revision;
    this.#generation = generation;
    for (const topic of topics.values()) this.#note(topic, 0);
    view.onChange((change) => this.#take(change));
  }

  /** Of the newest change. */
  get position(): Position {
    return this.#position;
  }

  /** The revision of the view, which watchers are told and may come back with. */
  get revision(): number {
    this.#seenRevision = this.#view.current.revision;
    return this.#seenRevision;
  }

  /** When the list of brokers changed last. */
  get brokersAt(): Position {
    return this.#brokersAt;
  }

  /** Calls `listener` after every change of the view. Returns how to stop. */
  onChange(listener: (change: RoutesChanged) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Where a watcher stands that is informed up to a revision which this process has reached, and
   * the topics that changed since. Undefined when that is too long ago, or between two revisions
   * that were seen as one change: a listing does not show what was made and deleted in between.
   */
  since(
    revision: number,
  ): { readonly position: Position; readonly names: ReadonlySet<string> } | undefined {
    if (revision < this.#sinceRevision) return undefined;
    const newer = this.#entries.filter((entry) => entry.revision > revision);
    const [next] = newer;
    if (next !== undefined && revision > next.after) return undefined;
    const position = (next?.position ?? this.#position + 1) - 1;
    return { position, names: new Set(newer.flatMap(({ names }) => names)) };
  }

  /** What to tell about a topic to a watcher that knows everything up to a position. */
  changeOf(name: string, after: Position): TopicChange {
    const routes = this.#routes.get(name);
    if (routes === undefined) return { kind: "deleted" };
    const { topic, madeAt, movedAt } = routes;
    if (madeAt > after) return { kind: "whole", topic };
    const partitions = topic.partitions.filter((_, i) => (movedAt[i] ?? 0) > after);
    return { kind: "moved", topic, partitions };
  }

  #take({ changed, deleted, brokersChanged }: ClusterChange): void {
    const { revision, topics, generation } = this.#view.current;
    const after = this.#seenRevision;
    this.#seenRevision = revision;
    const position = this.#position + 1;
    const names: string[] = [];
    for (const name of changed) {
      const topic = topics.get(name);
      if (topic !== undefined && this.#note(topic, position)) names.push(name);
    }
    for (const name of deleted) {
      this.#routes.delete(name);
      names.push(name);
    }
    if (names.length > 0 || brokersChanged) {
      this.#position = position;
      if (brokersChanged) this.#brokersAt = position;
      this.#remember({ after, revision, position, names });
    }
    if (Buffer.compare(generation, this.#generation) !== 0) this.#forget(revision, generation);
    const change = { names, brokers: brokersChanged };
    for (const listener of [...this.#listeners]) listener(change);
  }

  /** True when the routes of the topic changed. */
  #note(topic: TopicView, position: Position): boolean {
    const old = this.#routes.get(topic.name);
    const { partitions } = topic;
    if (old?.topic.id !== topic.id || old.topic.partitions.length !== partitions.length) {
      const movedAt = partitions.map(() => position);
      this.#routes.set(topic.name, { topic, madeAt: position, movedAt });
      return true;
    }
    const { madeAt, movedAt } = old;
    let moved = false;
    for (const [i, view] of partitions.entries()) {
      if (isSameRoute(old.topic.partitions[i], view)) continue;
      movedAt[i] = position;
      moved = true;
    }
    this.#routes.set(topic.name, { topic, madeAt, movedAt });
    return moved;
  }

  /** What changed between two generations says nothing about revisions of the new one. */
  #forget(revision: number, generation: Uint8Array): void {
    this.#generation = generation;
    this.#sinceRevision = revision;
    this.#entries = [];
    this.#names = 0;
  }

  /** A change of brokers alone counts as one name, so that those are bounded, too. */
  #remember(entry: Entry): void {
    this.#entries.push(entry);
    this.#names += Math.max(1, entry.names.length);
    if (this.#names <= this.#namesMax) return;
    // Half at once: the array is not moved for every change.
    let forgotten = 0;
    while (forgotten < this.#entries.length && this.#names > this.#namesMax / 2) {
      const oldest = this.#entries[forgotten];
      if (oldest === undefined) break;
      this.#names -= Math.max(1, oldest.names.length);
      this.#sinceRevision = oldest.revision;
      forgotten += 1;
    }
    this.#entries = this.#entries.slice(forgotten);
  }
}

/** The produce streams of a producer: to each broker one, and one for each kind of condition. */
import type { Endpoint } from "@millrace/errors";
import type { Channel } from "@millrace/rpc";
import type { Connections } from "../connections.ts";
import type { PartitionQueue, Route } from "./partition-queue.ts";
import type { Sender } from "./sender.ts";

export class Senders {
  readonly #connections: Connections;
  readonly #make: (channel: Channel, requiredFeatures: readonly string[]) => Sender;
  /** By the feature that their batches need: a server without it must refuse the stream. */
  readonly #byFeature = new Map<string | undefined, Map<Channel, Sender>>();

  constructor(
    connections: Connections,
    make: (channel: Channel, requiredFeatures: readonly string[]) => Sender,
  ) {
    this.#connections = connections;
    this.#make = make;
  }

  /** To the broker at `endpoint`, for the next batch of a queue, or as for its last one. */
  next(queue: PartitionQueue, endpoint: Endpoint): Sender {
    const batch = queue.batches[0] ?? queue.retries[0];
    const feature = batch === undefined ? queue.requiredFeature : batch.requiredFeature;
    const channel = this.#connections.channel(endpoint);
    let senders = this.#byFeature.get(feature);
    if (senders === undefined) {
      senders = new Map();
      this.#byFeature.set(feature, senders);
    }
    let sender = senders.get(channel);
    if (sender === undefined) {
      sender = this.#make(channel, feature === undefined ? [] : [feature]);
      senders.set(channel, sender);
    }
    return sender;
  }

  /** Whether a queue's route goes to the broker at `endpoint`. */
  leadsTo(route: Route, endpoint: Endpoint): boolean {
    const channel = this.#connections.channel(endpoint);
    return [...this.#byFeature.values()].some((senders) => senders.get(channel) === route);
  }

  *all(): Generator<Sender, void, undefined> {
    for (const senders of this.#byFeature.values()) yield* senders.values();
  }
}

/** The produce streams of a producer: to each broker one, and one for sends with a condition. */
import type { Endpoint } from "@millrace/errors";
import type { Channel } from "@millrace/rpc";
import type { Connections } from "../connections.ts";
import type { PartitionQueue, Route } from "./partition-queue.ts";
import type { Sender } from "./sender.ts";

/** A server that does not know the field would append anywhere, so it must refuse the stream. */
export const conditionalFeatures = ["conditional-append"];

export class Senders {
  readonly #connections: Connections;
  readonly #make: (channel: Channel, requiredFeatures: readonly string[]) => Sender;
  readonly #plain = new Map<Channel, Sender>();
  readonly #conditional = new Map<Channel, Sender>();

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
    const isConditional = batch === undefined ? queue.isConditional : batch.isConditional;
    const senders = isConditional ? this.#conditional : this.#plain;
    const channel = this.#connections.channel(endpoint);
    let sender = senders.get(channel);
    if (sender === undefined) {
      sender = this.#make(channel, isConditional ? conditionalFeatures : []);
      senders.set(channel, sender);
    }
    return sender;
  }

  /** Whether a queue's route goes to the broker at `endpoint`. */
  leadsTo(route: Route, endpoint: Endpoint): boolean {
    const channel = this.#connections.channel(endpoint);
    return this.#plain.get(channel) === route || this.#conditional.get(channel) === route;
  }

  *all(): Generator<Sender, void, undefined> {
    yield* this.#plain.values();
    yield* this.#conditional.values();
  }
}

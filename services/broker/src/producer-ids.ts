/** Producer ids for the clients of this broker, from blocks that the controller gives (KIP-730). */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { AllocateProducerIdsRequestSchema, ReplicaService } from "@millrace/proto/controller";
import { methodOf } from "@millrace/rpc";
import type { ControllerClient } from "./controller-client.ts";

export interface ProducerIdsOptions {
  readonly brokerId: number;
  /** Epoch of this broker's registration. */
  readonly brokerEpoch: () => number;
  readonly controller: Pick<ControllerClient, "call">;
}

/** Ids that are left, one after the other. */
interface Block {
  next: number;
  readonly end: number;
}

/** Part of a block that is left when the next one is fetched. */
const refillShare = 0.1;

const allocateProducerIds = methodOf(ReplicaService.method.allocateProducerIds);

const ignore = (): void => {};

/** A controller of an earlier version is replaced before long: clients wait for that. */
const explained = (thrown: unknown): never => {
  if (!hasCode(thrown, ErrorCode.UNSUPPORTED_OPERATION)) throw thrown;
  throw new MillraceError(
    ErrorCode.UNAVAILABLE,
    "the controller gives no producer ids: update the controllers",
    { cause: thrown },
  );
};

export class ProducerIds {
  readonly #options: ProducerIdsOptions;
  /** The block in use, and after it the one that was fetched ahead of need. */
  readonly #blocks: Block[] = [];
  #left = 0;
  /** The next block is fetched once no more than this many ids are left. */
  #refillAt = 0;
  #fetching: Promise<void> | undefined;

  constructor(options: ProducerIdsOptions) {
    this.#options = options;
  }

  /**
   * An id that was never given before. Waits only while no id is left, for at most one call of the
   * controller (5 s); all who wait share it. Throws what that call throws, always retriable when
   * the controller is away: NOT_CONTROLLER, STALE_BROKER_EPOCH or UNAVAILABLE.
   */
  async next(): Promise<number> {
    for (;;) {
      const id = this.#take();
      if (id !== undefined) return id;
      await this.#fetch();
    }
  }

  #take(): number | undefined {
    const block = this.#blocks[0];
    if (block === undefined) return undefined;
    const id = block.next;
    block.next += 1;
    if (block.next === block.end) this.#blocks.shift();
    this.#left -= 1;
    // A failure is told by the call that finds no id left.
    if (this.#left <= this.#refillAt) this.#fetch().catch(ignore);
    return id;
  }

  /** One call at a time. */
  #fetch(): Promise<void> {
    this.#fetching ??= this.#allocate().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #allocate(): Promise<void> {
    const { brokerId, brokerEpoch, controller } = this.#options;
    const fields = { brokerId, brokerEpoch: BigInt(brokerEpoch()) };
    const request = create(AllocateProducerIdsRequestSchema, fields);
    const reply = await controller.call(allocateProducerIds, request).catch(explained);
    const { producerIdCount: count } = reply;
    const next = Number(reply.firstProducerId);
    const end = next + count;
    if (!(count > 0 && next >= 0 && end <= Number.MAX_SAFE_INTEGER)) {
      const text = `the controller gave ${count} producer ids from ${next}: update it`;
      throw new MillraceError(ErrorCode.INTERNAL, text);
    }
    this.#blocks.push({ next, end });
    this.#left += count;
    this.#refillAt = Math.floor(count * refillShare);
  }
}

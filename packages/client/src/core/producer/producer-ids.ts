/** The producer id of an idempotent producer, asked for when it is first needed. */
import { create } from "@bufbuild/protobuf";
import type { Cancel, Clock, Random } from "@millrace/env";
import { type Endpoint, ErrorCode, MillraceError } from "@millrace/errors";
import { InitProducerIdRequestSchema } from "@millrace/proto/broker";
import { backoffMs } from "../backoff.ts";
import type { Connections } from "../connections.ts";
import { leaderSilentMs } from "../deadlines.ts";
import { isRetriable } from "../failures.ts";
import { methods } from "../methods.ts";

export interface ProducerIdsContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly connections: Connections;
  readonly clientId: string;
}

/** What became of a call. Retriable errors have been paused for: ask again. */
export type IdListener = (error: MillraceError | undefined) => void;

export class ProducerIds {
  readonly #context: ProducerIdsContext;
  readonly #listener: IdListener;
  #current: number | undefined;
  #isAsking = false;
  #isClosed = false;
  #failures = 0;
  #cancelTimer: Cancel = () => {};

  constructor(context: ProducerIdsContext, listener: IdListener) {
    this.#context = context;
    this.#listener = listener;
  }

  /** An id that is not `usedId`; undefined until one was asked for. */
  other(usedId: number | undefined): number | undefined {
    if (this.#current === usedId) this.#current = undefined;
    return this.#current;
  }

  /** Asks a broker, unless a call is under way. Every call gives another id. */
  ask(broker: Endpoint): void {
    if (this.#isAsking || this.#isClosed) return;
    this.#isAsking = true;
    const { clientId, connections } = this.#context;
    const request = create(InitProducerIdRequestSchema, { clientId });
    connections.unary(broker, methods.initProducerId, request, { timeoutMs: leaderSilentMs }).then(
      ({ producerId }) => this.#take(Number(producerId)),
      (thrown: unknown) => this.#failed(MillraceError.from(thrown)),
    );
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelTimer();
  }

  #take(producerId: number): void {
    this.#isAsking = false;
    this.#failures = 0;
    this.#current = producerId;
    if (!this.#isClosed) this.#listener(undefined);
  }

  #failed(error: MillraceError): void {
    if (this.#isClosed) return;
    const { clock, random } = this.#context;
    const ms = isRetriable(error) ? backoffMs(this.#failures, random, error.retryAfterMs) : 0;
    this.#failures += 1;
    this.#cancelTimer = clock.timer(ms, () => {
      this.#isAsking = false;
      this.#listener(explained(error));
    });
  }
}

const explained = (error: MillraceError): MillraceError => {
  if (error.code !== ErrorCode.UNSUPPORTED_OPERATION) return error;
  return new MillraceError(
    ErrorCode.UNSUPPORTED_OPERATION,
    "the server gives no producer ids (InitProducerId, feature level 2): update it, or make the " +
      "producer with idempotence: false",
    { cause: error },
  );
};

/** One stream of heartbeats, as the controller serves it. */
import { create } from "@bufbuild/protobuf";
import type { Clock } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type HeartbeatRequest,
  type HeartbeatResponse,
  HeartbeatResponseSchema,
} from "@millrace/proto/controller";
import { refuseOtherCluster, type ServerStream } from "@millrace/rpc";
import { heartbeatLimits as limits } from "../limits.ts";
import type { BrokerWatch, WatchedStream } from "./watch.ts";

export type HeartbeatStream = ServerStream<HeartbeatRequest, HeartbeatResponse>;

export interface HeartbeatContext {
  readonly clock: Clock;
  readonly clusterId: string;
  /** The watch of the present reign. Throws NOT_CONTROLLER. */
  readonly watch: () => BrokerWatch;
}

const violation = (what: string): MillraceError =>
  MillraceError.refusal(
    ErrorCode.STREAM_PROTOCOL_VIOLATION,
    `${what}: see ReplicaService.Heartbeat`,
  );

class HeartbeatSession {
  readonly #stream: HeartbeatStream;
  readonly #context: HeartbeatContext;
  readonly #over = Promise.withResolvers<void>();
  #watched: WatchedStream | undefined;
  #isOver = false;

  constructor(stream: HeartbeatStream, context: HeartbeatContext) {
    this.#stream = stream;
    this.#context = context;
  }

  /** Settles when the stream is over for either side. */
  async run(): Promise<void> {
    const { resolve, reject, promise } = this.#over;
    const { draining } = this.#stream.context;
    const drain = (): void => this.#drain();
    draining.addEventListener("abort", drain);
    this.#listen().then(resolve, reject);
    try {
      await promise;
    } finally {
      this.#isOver = true;
      draining.removeEventListener("abort", drain);
      // After a goodbye, or an end by the watch, this does nothing.
      this.#watched?.broke();
    }
  }

  /** Not awaited in a race: the promise of a stream that never ends would collect the losers. */
  async #listen(): Promise<void> {
    const watched = await this.#open();
    for (;;) {
      const request = this.#stream.tryRead() ?? (await this.#stream.read());
      if (request === undefined) return;
      if (request.open !== undefined) throw violation("a second open");
      if (request.goodbye) {
        watched.leave();
        return;
      }
      watched.beat(request);
      this.#stream.write(create(HeartbeatResponseSchema, {}));
    }
  }

  async #open(): Promise<WatchedStream> {
    const { clock, clusterId, watch } = this.#context;
    const { intervalMs, openTimeoutMs, silenceMs } = limits;
    const late = violation(`no opening message within ${openTimeoutMs} ms`);
    const cancel = clock.timer(openTimeoutMs, () => this.#over.reject(late));
    const open = (await this.#stream.read().finally(cancel))?.open;
    if (this.#isOver) throw late;
    if (open === undefined) throw violation("the first message has no open");
    if (open.clusterId === "") throw violation("the opening names no cluster");
    refuseOtherCluster(clusterId, open.clusterId);
    const watched = watch().open(open, (why) => this.#over.reject(why));
    this.#watched = watched;
    const opened = { intervalMs, silenceMs };
    this.#stream.write(create(HeartbeatResponseSchema, { opened }));
    return watched;
  }

  #drain(): void {
    const why = "this controller stops: open a stream to the next one";
    this.#watched?.endWatch(MillraceError.refusal(ErrorCode.SHUTTING_DOWN, why));
  }
}

/** Resolves when the broker has said goodbye; rejects with why the stream ends otherwise. */
export const serveHeartbeats = (
  stream: HeartbeatStream,
  context: HeartbeatContext,
): Promise<void> => new HeartbeatSession(stream, context).run();

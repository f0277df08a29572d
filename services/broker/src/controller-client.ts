/** Calls of this broker to the active controller, wherever that is. */
import { ErrorCode, formatEndpoint, MillraceError } from "@millrace/errors";
import { type Channel, clusterIdMetadata, type Dialer, type Method } from "@millrace/rpc";
import type { ClusterView } from "./metadata/view.ts";

export interface ControllerClientOptions {
  readonly dialer: Dialer;
  readonly view: ClusterView;
  readonly clusterId: string;
}

/** Longest wait for an answer, ms. */
const timeoutMs = 5_000;

export class ControllerClient {
  readonly #options: ControllerClientOptions;
  readonly #metadata: ReadonlyMap<string, string> | undefined;
  #channel: Channel | undefined;
  #isClosed = false;

  constructor(options: ControllerClientOptions) {
    this.#options = options;
    this.#metadata = clusterIdMetadata(options.clusterId);
  }

  /**
   * One call, answered within 5 s. Throws what the controller answers, NOT_CONTROLLER while none is
   * active, and SHUTTING_DOWN after `close`.
   */
  async call<I, O>(method: Method<I, O>, request: I): Promise<O> {
    const channel = this.#dial();
    const metadata = this.#metadata;
    try {
      return await channel.unary(method, request, { timeoutMs, ...(metadata && { metadata }) });
    } catch (thrown) {
      // The connection may be dead without a word: the next call takes a new one.
      if (MillraceError.from(thrown).spec.sideEffects) this.#hangUp(channel);
      throw thrown;
    }
  }

  /** Fails the calls that are under way, and all later ones. */
  close(): void {
    this.#isClosed = true;
    if (this.#channel !== undefined) this.#hangUp(this.#channel);
  }

  #dial(): Channel {
    const { dialer, view } = this.#options;
    if (this.#isClosed) {
      throw MillraceError.refusal(ErrorCode.SHUTTING_DOWN, "this broker is being stopped");
    }
    const endpoint = view.current.internalController;
    if (endpoint === undefined) {
      const text = "no controller is active at the moment: retry";
      throw MillraceError.refusal(ErrorCode.NOT_CONTROLLER, text);
    }
    const address = formatEndpoint(endpoint);
    if (this.#channel !== undefined && this.#channel.endpoint !== address) {
      this.#hangUp(this.#channel);
    }
    this.#channel ??= dialer.dial(address, endpoint);
    return this.#channel;
  }

  #hangUp(channel: Channel): void {
    channel.close();
    if (this.#channel === channel) this.#channel = undefined;
  }
}

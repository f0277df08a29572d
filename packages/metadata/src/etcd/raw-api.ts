/**
 * What the store needs of one etcd server: its raw calls. Implemented over etcd3 (`raw.ts`) and by
 * a fake for tests.
 */
import type {
  ICompactionRequest,
  ICompactionResponse,
  ILeaseGrantRequest,
  ILeaseGrantResponse,
  ILeaseKeepAliveRequest,
  ILeaseKeepAliveResponse,
  ILeaseRevokeRequest,
  ILeaseRevokeResponse,
  IRangeRequest,
  IRangeResponse,
  ITxnRequest,
  ITxnResponse,
  IWatchRequest,
  IWatchResponse,
} from "etcd3";

/** Sent with every call. */
export interface CallContext {
  /** Of a login, or undefined where etcd has no users. */
  readonly token: string | undefined;
  readonly timeoutMs: number;
}

/** What etcd's own texts begin with, unlike those of gRPC and of the network. */
export const etcdSays = "etcd: ";

/** A failed call: the gRPC status and its text. */
export class EtcdError extends Error {
  override readonly name = "EtcdError";
  readonly code: number;

  constructor(code: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export interface StreamHandlers<Response> {
  onData(response: Response): void;
  /** Once, last. Not called after `close`. */
  onEnd(error: EtcdError): void;
}

export interface RawStream<Request> {
  write(request: Request): void;
  /** Ends the stream at once; nothing is delivered after it. */
  close(): void;
}

/** Calls reject with EtcdError. A call is made once: nothing in here tries again. */
export interface RawEtcd {
  range(request: IRangeRequest, context: CallContext): Promise<IRangeResponse>;
  txn(request: ITxnRequest, context: CallContext): Promise<ITxnResponse>;
  compact(request: ICompactionRequest, context: CallContext): Promise<ICompactionResponse>;
  leaseGrant(request: ILeaseGrantRequest, context: CallContext): Promise<ILeaseGrantResponse>;
  leaseRevoke(request: ILeaseRevokeRequest, context: CallContext): Promise<ILeaseRevokeResponse>;
  leaseKeepAlive(
    context: CallContext,
    handlers: StreamHandlers<ILeaseKeepAliveResponse>,
  ): RawStream<ILeaseKeepAliveRequest>;
  /** A stream without a deadline: `context.timeoutMs` does not apply. */
  watch(context: CallContext, handlers: StreamHandlers<IWatchResponse>): RawStream<IWatchRequest>;
  /** Returns a token. */
  authenticate(
    credentials: { readonly user: string; readonly password: string },
    context: CallContext,
  ): Promise<string>;
  close(): void;
}

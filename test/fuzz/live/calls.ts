/** Every method that the server serves, and one call of any of them over raw HTTP/2. */

import { type ClientHttp2Session, connect } from "node:http2";
import {
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  isMessage,
  type Message,
} from "@bufbuild/protobuf";
import { type ReflectMessage, reflect } from "@bufbuild/protobuf/reflect";
import { ErrorCode } from "@millrace/errors";
import { FetchService, LogService, ProduceService } from "@millrace/proto/broker";
import { PartitionErrorSchema } from "@millrace/proto/common";
import {
  AdminService,
  BrokersService,
  MaintenanceService,
  RebalanceService,
} from "@millrace/proto/controller";
import { GroupService } from "@millrace/proto/group";
import { MetadataService } from "@millrace/proto/metadata";
import { Health } from "../../../packages/rpc/gen/grpc/health/v1/health_pb.js";
import * as v1 from "../../../packages/rpc/gen/grpc/reflection/v1/reflection_pb.js";
import * as v1alpha from "../../../packages/rpc/gen/grpc/reflection/v1alpha/reflection_pb.js";
import { resetBurst } from "../../../packages/rpc/src/grpc/windows.ts";
import { grpcMessage, openCall } from "../../hostile/wire.ts";

export const services: readonly DescService[] = [
  ...[ProduceService, FetchService, LogService, MetadataService, AdminService, BrokersService],
  ...[MaintenanceService, RebalanceService, GroupService],
  ...[Health, v1.ServerReflection, v1alpha.ServerReflection],
];

export const methods: readonly DescMethod[] = services.flatMap((service) => service.methods);

export const pathOf = ({ parent, name }: DescMethod): string => `/${parent.typeName}/${name}`;

/** What is sent. */
export interface Input {
  readonly method: DescMethod;
  readonly messages: readonly Uint8Array[];
  readonly timeoutMs: number;
  /** Reset the call after so long instead of ending the request. */
  readonly resetAfterMs: number | undefined;
}

/** How it ended: a gRPC status, what else the connection did, or nothing in time. */
export interface Outcome {
  readonly end: string;
  /** Codes of errors inside of the answers. */
  readonly errors: readonly ErrorCode[];
  /** The deadline had passed by then. */
  readonly late: boolean;
}

/** How much longer than its deadline a call may take: the machine is shared. */
const patienceMs = 10_000;
const answerBytesMax = 256 * 1024;

/**
 * A connection that resets more calls than this, and goes on faster than `resetRate` a second, is
 * ended by design, and its other calls with it.
 */
const resetsMax = resetBurst;

/** Not `close` at once: that refuses calls which have not been sent yet. */
const retire = (session: ClientHttp2Session): void => {
  session.setTimeout(2 * patienceMs, () => session.destroy());
};

/** A few connections, used in turn, and made again when they end or have reset calls enough. */
export class Connections {
  readonly #address: string;
  readonly #sessions: ClientHttp2Session[] = [];
  readonly #resets: number[] = [];
  #next = 0;

  constructor(address: string, count: number) {
    this.#address = address;
    for (let i = 0; i < count; i += 1) this.#sessions.push(this.#connect());
  }

  /** One for a call that will be reset, or not. */
  get(reset: boolean): ClientHttp2Session {
    const index = (this.#next + 1) % this.#sessions.length;
    this.#next = index;
    let session = this.#sessions[index];
    const resets = (this.#resets[index] ?? 0) + (reset ? 1 : 0);
    this.#resets[index] = resets;
    if (session === undefined || session.destroyed || session.closed || resets > resetsMax) {
      if (session !== undefined) retire(session);
      session = this.#connect();
      this.#sessions[index] = session;
      this.#resets[index] = 0;
    }
    return session;
  }

  close(): void {
    for (const session of this.#sessions) session.destroy();
  }

  #connect(): ClientHttp2Session {
    const session = connect(`http://${this.#address}`);
    session.on("error", () => {});
    session.setMaxListeners(0);
    return session;
  }
}

/** Makes one call. Never rejects. */
export const send = (session: ClientHttp2Session, input: Input): Promise<Outcome> =>
  new Promise((resolve) => {
    const { method, messages, timeoutMs, resetAfterMs } = input;
    const stream = openCall(session, pathOf(method), { "grpc-timeout": `${timeoutMs}m` });
    const answers: Buffer[] = [];
    let bytes = 0;
    let status: string | undefined;
    let reset = false;
    const timers: NodeJS.Timeout[] = [];
    const startMs = performance.now();
    const lasted = (): number => performance.now() - startMs;
    const tell = (what: string): string =>
      `${what} after ${lasted().toFixed(0)} ms of ${timeoutMs}, ${bytes} bytes`;
    const end = (outcome: string): void => {
      for (const timer of timers) clearTimeout(timer);
      const errors = errorsIn(method.output, Buffer.concat(answers));
      resolve({ end: outcome, errors, late: lasted() > timeoutMs });
    };
    const seen = (headers: Readonly<Record<string, unknown>>): void => {
      const code = headers["grpc-status"];
      if (code !== undefined) status = `status ${String(code)} ${String(headers["grpc-message"])}`;
      else if (headers[":status"] !== 200 && headers[":status"] !== undefined)
        status = `http ${String(headers[":status"])}`;
    };
    stream.on("response", seen);
    stream.on("trailers", seen);
    stream.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= answerBytesMax) answers.push(chunk);
    });
    stream.on("close", () => {
      if (status === undefined && reset) end("reset by the client");
      else end(status ?? tell(session.destroyed ? "closed" : `reset ${stream.rstCode}`));
    });
    timers.push(setTimeout(() => end(tell("open")), timeoutMs + patienceMs));
    for (const message of messages) stream.write(grpcMessage(message));
    if (resetAfterMs === undefined) stream.end();
    else {
      timers.push(
        setTimeout(() => {
          reset = true;
          stream.close(8);
        }, resetAfterMs),
      );
    }
  });

/** Codes of all errors in whole messages of an answer. */
const errorsIn = (desc: DescMessage, bytes: Buffer): ErrorCode[] => {
  const codes: ErrorCode[] = [];
  for (let at = 0; at + 5 <= bytes.length; ) {
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    if (end > bytes.length) break;
    collect(reflect(desc, fromBinary(desc, bytes.subarray(at + 5, end))), codes);
    at = end;
  }
  return codes;
};

const collect = (message: ReflectMessage, codes: ErrorCode[]): void => {
  const inner: Message = message.message;
  if (isMessage(inner, PartitionErrorSchema)) codes.push(inner.code);
  for (const field of message.fields) {
    if (field.fieldKind === "message" && message.isSet(field)) collect(message.get(field), codes);
    else if (field.fieldKind === "list" && field.listKind === "message") {
      for (const one of message.get(field)) collect(one as ReflectMessage, codes);
    }
  }
};

/** Errors that are never a client's doing. */
const bugCodes = new Set<ErrorCode>([
  ...[ErrorCode.INTERNAL, ErrorCode.STORAGE_ERROR, ErrorCode.PARTITION_OFFLINE],
]);

/**
 * What is wrong with an outcome, or undefined. Statuses 2, 13 and 15 (UNKNOWN, INTERNAL, DATA_LOSS)
 * accuse the server.
 */
export const wrongWith = ({ end, errors, late }: Outcome): string | undefined => {
  // grpc-js loses the status of a call now and then whose deadline passes while it is answered;
  // then nobody waits for it any more, and the server's own limits reset the call.
  if (late && /^reset (8|11) /.test(end)) return undefined;
  if (/^status (2|13|15) /.test(end)) return end;
  if (!end.startsWith("status ") && end !== "reset by the client") return `ended with: ${end}`;
  const bug = errors.find((code) => bugCodes.has(code));
  return bug === undefined ? undefined : `an answer has error ${ErrorCode[bug]}`;
};

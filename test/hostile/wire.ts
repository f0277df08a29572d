/** HTTP/2 and gRPC by hand: what a library would never send. */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
} from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";

/** How an attack ended: `status 3`, `reset 11`, `closed`, `open` (nothing happened in time). */
export type Outcome = string;

export interface Target {
  readonly host: string;
  readonly port: number;
  /** A topic that exists, of at least two partitions, with a few records in partition 0. */
  readonly topic: string;
  /** How long an attack waits for the server's answer. */
  readonly patienceMs: number;
}

/** A message behind its gRPC prefix; `length` may lie. */
export const grpcMessage = (body: Uint8Array, length = body.length, compressed = 0): Buffer => {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(compressed, 0);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, body]);
};

/** An HTTP/2 connection for one attack, closed after it. */
export const withSession = async (
  target: Target,
  run: (session: ClientHttp2Session) => Promise<Outcome>,
): Promise<Outcome> => {
  const session = connectHttp2(`http://${target.host}:${target.port}`, {
    settings: { initialWindowSize: 64 * 1024 },
    maxSessionMemory: 1000,
  });
  session.on("error", () => {});
  session.setMaxListeners(0);
  try {
    return await run(session);
  } finally {
    session.destroy();
  }
};

export const openCall = (
  session: ClientHttp2Session,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): ClientHttp2Stream => {
  const stream = session.request(
    {
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    },
    { endStream: false },
  );
  stream.on("error", () => {});
  return stream;
};

/** How a call ends. */
export const outcomeOf = (
  session: ClientHttp2Session,
  stream: ClientHttp2Stream,
  patienceMs: number,
): Promise<Outcome> =>
  new Promise((resolve) => {
    let status: string | undefined;
    const timer = setTimeout(() => resolve("open"), patienceMs);
    const end = (outcome: Outcome): void => {
      clearTimeout(timer);
      resolve(status ?? outcome);
    };
    if (stream.destroyed) end(`reset ${stream.rstCode}`);
    const seen = (headers: Readonly<Record<string, unknown>>): void => {
      const code = headers["grpc-status"];
      if (code !== undefined) status = `status ${String(code)}`;
      else if (headers[":status"] !== undefined && headers[":status"] !== 200)
        status = `http ${String(headers[":status"])}`;
      if (status !== undefined) end(status);
    };
    stream.on("response", seen);
    stream.on("trailers", seen);
    stream.on("close", () => end(stream.rstCode === 0 ? "ended" : `reset ${stream.rstCode}`));
    session.on("close", () => end("closed"));
    session.on("goaway", (code) => end(`goaway ${code}`));
    if (session.destroyed) end("closed");
  });

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export const frameTypes = {
  data: 0,
  headers: 1,
  rst: 3,
  settings: 4,
  ping: 6,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const frame = (
  type: number,
  flags: number,
  streamId: number,
  payload: Uint8Array,
): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
};

const literal = (text: string): Buffer =>
  Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);

/** HPACK without compression; every text shorter than 127 bytes. */
export const headerBlock = (path: string): Buffer =>
  Buffer.concat(
    [
      [":method", "POST"],
      [":scheme", "http"],
      [":path", path],
      [":authority", "x"],
      ["content-type", "application/grpc"],
      ["te", "trailers"],
    ].map(([name = "", value = ""]) =>
      Buffer.concat([Buffer.from([0]), literal(name), literal(value)]),
    ),
  );

/** A socket for one attack. */
export class RawSocket {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  over = false;

  constructor({ host, port }: Target) {
    this.socket = connectTcp({ host, port });
    this.socket.on("error", () => {});
    this.closed = new Promise((resolve) => {
      this.socket.once("close", () => {
        this.over = true;
        resolve();
      });
    });
  }

  /** Preface and settings: the largest window, so that nothing but the reader is slow. */
  start(): void {
    const settings = Buffer.alloc(6);
    settings.writeUInt16BE(4, 0);
    settings.writeUInt32BE(0x7fffffff, 2);
    const window = Buffer.alloc(4);
    window.writeUInt32BE(0x7fff0000, 0);
    this.socket.write(
      Buffer.concat([
        preface,
        frame(frameTypes.settings, 0, 0, settings),
        frame(frameTypes.windowUpdate, 0, 0, window),
      ]),
    );
  }

  /** Writes as fast as the socket takes it. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.over || this.socket.write(bytes)) return;
    await Promise.race([
      new Promise<void>((resolve) => {
        this.socket.once("drain", resolve);
      }),
      this.closed,
    ]);
  }

  /** Whether the server closes it in time. */
  async outcome(patienceMs: number): Promise<Outcome> {
    let timer: NodeJS.Timeout | undefined;
    const waited = new Promise<Outcome>((resolve) => {
      timer = setTimeout(() => resolve("open"), patienceMs);
    });
    const outcome = await Promise.race([this.closed.then(() => "closed"), waited]);
    clearTimeout(timer);
    this.socket.destroy();
    return outcome;
  }
}

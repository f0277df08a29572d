/** What listens at an address that a client could not use: the usual mistakes. */
import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import { type Endpoint, formatEndpoint } from "@millrace/errors";

/** How long one look takes at most, milliseconds. */
const lookMs = 1_000;

/** The preface of HTTP/2 with empty settings: what a gRPC client begins with. */
const preface = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);

/** The first bytes of the answer to that; none when it says nothing, or cannot be reached. */
const firstBytes = ({ host, port }: Endpoint): Promise<Uint8Array> =>
  new Promise((resolve) => {
    const socket = connectTcp({ host, port });
    const end = (bytes: Uint8Array = new Uint8Array(0)): void => {
      socket.destroy();
      resolve(bytes);
    };
    socket.setTimeout(lookMs, () => end());
    socket.once("connect", () => socket.write(preface));
    socket.once("data", (bytes: Buffer) => end(bytes));
    socket.once("error", () => end());
    socket.once("close", () => end());
  });

const speaksTls = ({ host, port }: Endpoint): Promise<boolean> =>
  new Promise((resolve) => {
    // Whose certificate it is does not matter: nothing is sent.
    const socket = connectTls({ host, port, rejectUnauthorized: false });
    const end = (isTls: boolean): void => {
      socket.destroy();
      resolve(isTls);
    };
    socket.setTimeout(lookMs, () => end(false));
    socket.once("secureConnect", () => end(true));
    socket.once("error", () => end(false));
    socket.once("close", () => end(false));
  });

/** What is wrong with the address; undefined when it may be right. */
export const whatListens = async (endpoint: Endpoint): Promise<string | undefined> => {
  const name = formatEndpoint(endpoint);
  const bytes = await firstBytes(endpoint);
  if (Buffer.from(bytes.subarray(0, 5)).toString("latin1") === "HTTP/") {
    return `${name} is an HTTP port, such as the one for metrics (7480 by default)`;
  }
  // Settings are the first frame of HTTP/2.
  if (bytes[3] === 4) return undefined;
  if (await speaksTls(endpoint)) {
    return `${name} wants TLS, which this client does not speak yet`;
  }
  return bytes.length === 0 ? undefined : `${name} is no Millrace server`;
};

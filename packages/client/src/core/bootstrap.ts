/** The addresses of the servers that are asked first. */
import { type Endpoint, ErrorCode, MillraceError, parseEndpoint } from "@millrace/errors";
import { isEndpoint, shown } from "./checks.ts";

const refuse = (what: string): MillraceError => new MillraceError(ErrorCode.INVALID_REQUEST, what);

/** What is wrong with an address, and how it is right. */
const wrongAddress = (text: unknown): MillraceError => {
  const given = `bootstrap has ${shown(text)}`;
  if (typeof text !== "string") return refuse(`${given}: give strings such as "localhost:7400"`);
  const [, scheme, rest = ""] = /^([a-z][a-z0-9+.-]*:\/\/)([^/]*)/i.exec(text) ?? [];
  if (scheme !== undefined) {
    const address = isEndpoint(rest) ? rest : `${rest || "localhost"}:7400`;
    return refuse(`${given}, with a scheme: give host and port alone, such as "${address}"`);
  }
  const address = text.includes(":") && !text.includes("[") ? `[${text}]:7400` : `${text}:7400`;
  if (isEndpoint(address)) {
    return refuse(`${given}, without a port: give host:port, such as "${address}"`);
  }
  return refuse(`${given}, which is no host:port: give one such as "localhost:7400"`);
};

/** Throws INVALID_REQUEST for an address that cannot be used. */
export const endpointsOf = (bootstrap: string | readonly string[]): Endpoint[] => {
  const list = typeof bootstrap === "string" ? bootstrap.split(",") : bootstrap;
  if (!Array.isArray(list)) {
    throw refuse(`bootstrap is ${shown(bootstrap)}: give "host:port", or a list of them`);
  }
  const named = list.map((one) => (typeof one === "string" ? one.trim() : one));
  if (named.length === 0 || named.every((one) => one === "")) {
    throw refuse('bootstrap names no server: give one or more host:port, such as "localhost:7400"');
  }
  return named.map((text) => {
    const endpoint = typeof text === "string" ? parseEndpoint(text) : undefined;
    if (endpoint === undefined) throw wrongAddress(text);
    return endpoint;
  });
};

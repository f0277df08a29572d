/**
 * Where a process can be reached. People and settings write `host:port`; everything that programs
 * tell each other is an `Endpoint`.
 */

/** See `millrace.common.v1.Endpoint`. */
export interface Endpoint {
  /** Host name or IP address; IPv6 without brackets. */
  readonly host: string;
  /** 1 to 65,535. */
  readonly port: number;
  /** Name of the listener; empty where the process has one. */
  readonly listener: string;
  /** True: connections begin with TLS. */
  readonly tls: boolean;
  /** Name in the server's certificate, sent as `:authority`. Empty: `host`. */
  readonly authority: string;
}

const hostAndPort = /^(?:\[([0-9a-f.]*:[0-9a-f:.]*(?:%[\w.-]+)?)\]|([^\s:/[\]]+)):(\d{1,5})$/i;

/**
 * The endpoint that `host:port` names, without TLS; an IPv6 address stands in brackets. Undefined
 * for any other text.
 */
export const parseEndpoint = (text: string): Endpoint | undefined => {
  const [, ipv6, name, digits = "0"] = hostAndPort.exec(text) ?? [];
  const host = ipv6 ?? name;
  const port = Number(digits);
  if (host === undefined || port < 1 || port > 65_535) return undefined;
  return { host, port, listener: "", tls: false, authority: "" };
};

/** `host:port`, with an IPv6 address in brackets: for people, and for what dials. */
export const formatEndpoint = ({ host, port }: Pick<Endpoint, "host" | "port">): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

/** What a message says about an endpoint; undefined where nobody could dial it. */
export const dialable = (told: Endpoint | undefined): Endpoint | undefined => {
  if (told === undefined || told.host === "" || told.port < 1 || told.port > 65_535)
    return undefined;
  const { host, port, listener, tls, authority } = told;
  return { host, port, listener, tls, authority };
};

/**
 * Addresses to bind, and addresses to tell clients. They differ: clients cannot connect to
 * `0.0.0.0`.
 */
import { existsSync } from "node:fs";
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import type { Logger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { Addresses, BoundEndpoints } from "../listen.ts";

export interface Address {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Splits `HOST:PORT` and `[IPV6]:PORT`. */
export const parseAddress = (endpoint: string): Address => {
  const colon = endpoint.lastIndexOf(":");
  const host = endpoint.slice(0, colon).replace(/^\[|\]$/g, "");
  return { host, port: Number(endpoint.slice(colon + 1)) };
};

const formatAddress = ({ host, port }: Address): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

/**
 * Every spelling of "all interfaces": `0.0.0.0`, `0`, `::`, `0:0:0:0:0:0:0:0`, `::ffff:0.0.0.0`.
 */
export const isWildcard = (host: string): boolean => /^(::ffff:)?[0:.]+$/i.test(host);

export const isLoopback = (endpoint: string): boolean => {
  const { host } = parseAddress(endpoint);
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
};

/** Addresses of this machine in the form of `os.networkInterfaces()`. */
type Interfaces = ReturnType<typeof networkInterfaces>;

/**
 * The address that clients on other machines most likely reach, for a listener on all interfaces:
 * the first IPv4 address that is not loopback or link-local, then such an IPv6 one, then loopback.
 */
const usableHost = (wildcard: string, interfaces: Interfaces): string => {
  const addresses = Object.values(interfaces).flatMap((list) => list ?? []);
  const outside = addresses.filter(
    ({ internal, address }) => !internal && !/^(169\.254\.|fe80:)/i.test(address),
  );
  const chosen =
    outside.find(({ family }) => family === "IPv4") ??
    outside.find(({ family }) => family === "IPv6");
  if (chosen !== undefined) return chosen.address;
  return addresses.some(({ family }) => family === "IPv4") || !wildcard.includes(":")
    ? "127.0.0.1"
    : "::1";
};

/** What clients are told, and whether it had to be guessed. */
export interface Advertised {
  readonly endpoint: string;
  readonly guessed: boolean;
}

/** The peers that are told an address, and the setting that says which. */
const audiences = {
  advertise: "clients",
  "internal-advertise": "the cluster's processes",
} as const;

type AdvertiseSetting = keyof typeof audiences;

/** Where a server listens, and what others are told. */
export type AddressConfig = Readonly<
  Record<AdvertiseSetting | "listen" | "internal-listen", string>
>;

/** Files that container runtimes leave; Kubernetes sets a variable. */
const containerFiles = ["/.dockerenv", "/run/.containerenv"];

/** In a container nobody but the container's network reaches an address of this machine. */
export const inContainer = (): boolean =>
  process.env["KUBERNETES_SERVICE_HOST"] !== undefined || containerFiles.some(existsSync);

/**
 * Throws INVALID_CONFIG for an address that nobody can dial, and, outside of containers, for a
 * listener on all addresses without the one that others are told: a guess may lead them astray.
 */
export const checkAdvertise = (
  config: Pick<AddressConfig, "advertise" | "listen">,
  isContainer = inContainer(),
): void => checkOne("advertise", config.advertise, "listen", config.listen, isContainer);

const checkOne = (
  setting: AdvertiseSetting,
  advertise: string,
  listening: "listen" | "internal-listen",
  listen: string,
  isContainer: boolean,
): void => {
  const who = audiences[setting];
  if (advertise === "") {
    const { host, port } = parseAddress(listen);
    if (!isWildcard(host) || isContainer) return;
    throw new MillraceError(
      ErrorCode.INVALID_CONFIG,
      `--${listening} ${listen} is every address of this machine, and ${who} must be told one: ` +
        `add --${setting} HOST:${port === 0 ? "PORT" : port}, as ${who} reach it`,
    );
  }
  const { host, port } = parseAddress(advertise);
  if (!isWildcard(host) && port > 0) return;
  throw new MillraceError(
    ErrorCode.INVALID_CONFIG,
    `--${setting}: ${JSON.stringify(advertise)} is not an address that ${who} can connect to: ` +
      `use a host name or address that ${who} reach, and a port of 1 to 65535`,
  );
};

/**
 * The address for clients: as set, or what is listened on, or a usable one instead of a wildcard.
 */
export const advertisedOf = (
  advertise: string,
  listening: string,
  interfaces: Interfaces = networkInterfaces(),
): Advertised => {
  if (advertise !== "") return { endpoint: advertise, guessed: false };
  const { host, port } = parseAddress(listening);
  if (!isWildcard(host)) return { endpoint: listening, guessed: false };
  const endpoint = formatAddress({ host: usableHost(host, interfaces), port });
  return { endpoint, guessed: true };
};

/** As `advertisedOf`. An address that had to be guessed is logged. */
export const tellAdvertised = (
  advertise: string,
  listening: string,
  logger: Logger,
  setting: AdvertiseSetting = "advertise",
): string => {
  const { endpoint, guessed } = advertisedOf(advertise, listening);
  if (guessed) {
    const who = audiences[setting];
    logger.warn(
      { listen: listening, advertised: endpoint },
      `${who} are told an address of this machine, because the listener is on all interfaces: ` +
        `set --${setting} to the HOST:PORT that ${who} reach`,
    );
  }
  return endpoint;
};

/** Settings of what others are told. */
type AdvertiseConfig = Readonly<Record<AdvertiseSetting, string>>;

/** As `checkAdvertise`, for both listeners. */
export const checkAddresses = (config: AddressConfig, isContainer = inContainer()): void => {
  checkAdvertise(config, isContainer);
  const internal = "internal-advertise";
  const listening = "internal-listen";
  checkOne(internal, config[internal], listening, config[listening], isContainer);
};

/** What clients and the cluster's processes are told. */
export const tellAddresses = (
  config: AdvertiseConfig,
  { client, internal }: BoundEndpoints,
  logger: Logger,
): Addresses => ({
  clientEndpoint: tellAdvertised(config.advertise, client, logger),
  internalEndpoint: tellAdvertised(
    config["internal-advertise"],
    internal,
    logger,
    "internal-advertise",
  ),
});

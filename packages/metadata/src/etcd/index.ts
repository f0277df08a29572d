/** The door: a `MetadataStore` on the etcd cluster behind some endpoints. */
import type { Clock, Logger, Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { MetadataStore } from "../api.ts";
import type { Credentials } from "./endpoints.ts";
import { connectEtcd } from "./raw.ts";
import { EtcdStore } from "./store.ts";

export type { Credentials } from "./endpoints.ts";

export interface EtcdOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** `http://HOST:PORT` or `https://HOST:PORT` of the members, all of one kind. */
  readonly endpoints: readonly string[];
  /** What all keys of the cluster begin with, such as `/millrace/<cluster>/`. */
  readonly root: string;
  /** PEM, with `https`: the authority, and what the client shows of itself. */
  readonly tls?: {
    readonly ca: Uint8Array;
    readonly certificate?: Uint8Array;
    readonly key?: Uint8Array;
  };
  /** Name in the servers' certificates, where it is not the host of the endpoint. */
  readonly serverName?: string;
  readonly credentials?: Credentials;
  /** Silence of a watch after which etcd is asked, and again until the watch is lost, ms. */
  readonly watchSilenceMs?: number;
}

const refuse = (what: string): MillraceError => new MillraceError(ErrorCode.INVALID_CONFIG, what);

/** grpc-js cannot check an address against a certificate on this version of Node. */
const isAddress = (endpoint: string): boolean => /^https:\/\/([\d.]+|\[.*\]):\d+$/.test(endpoint);

const checkEndpoints = (options: EtcdOptions): void => {
  const { endpoints, tls, serverName, credentials, logger } = options;
  if (endpoints.length === 0) throw refuse("no etcd endpoint: name at least one");
  for (const endpoint of endpoints) {
    if (/^https?:\/\/[^/\s]+:\d+$/.test(endpoint)) continue;
    throw refuse(`etcd endpoint ${endpoint} is not allowed: use http(s)://HOST:PORT`);
  }
  const secure = endpoints.filter((endpoint) => endpoint.startsWith("https:")).length;
  if (secure > 0 && secure < endpoints.length) {
    throw refuse("etcd endpoints with and without TLS: use https for all of them");
  }
  const address = serverName === undefined ? endpoints.find(isAddress) : undefined;
  if (address !== undefined) {
    throw refuse(
      `etcd endpoint ${address} is an address: use a host name, or set the server's name`,
    );
  }
  if (tls !== undefined && secure === 0) {
    throw refuse("certificates for etcd endpoints without TLS: use https endpoints");
  }
  if ((tls?.certificate === undefined) !== (tls?.key === undefined)) {
    throw refuse("a client certificate for etcd needs its key, and a key its certificate");
  }
  if (credentials !== undefined && secure === 0) {
    logger.warn({ endpoints }, "the password for etcd is sent in plain text: use https endpoints");
  }
};

/** Connects at the first call. Throws INVALID_CONFIG for options that do not go together. */
export const openEtcdStore = (options: EtcdOptions): MetadataStore => {
  const { clock, random, logger, root, credentials, tls, serverName, watchSilenceMs } = options;
  checkEndpoints(options);
  const servers = options.endpoints.map((endpoint) => ({
    endpoint,
    raw: connectEtcd({
      endpoint,
      ...(tls === undefined ? {} : { tls }),
      ...(serverName === undefined ? {} : { serverName }),
      wallMs: () => clock.wallMs(),
    }),
  }));
  return new EtcdStore({
    ...{ clock, random, logger, servers, root },
    ...(credentials === undefined ? {} : { credentials }),
    ...(watchSilenceMs === undefined ? {} : { watchSilenceMs }),
  });
};

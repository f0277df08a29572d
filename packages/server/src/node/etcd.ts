/**
 * The metadata store that a process's settings name. A file of its own: a standalone server loads
 * no client of etcd.
 */
import { readFileSync } from "node:fs";
import type { Env } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { MetadataStore } from "@millrace/metadata";
import { openEtcdStore } from "@millrace/metadata/etcd";
import type { EtcdConfig } from "./etcd-settings.ts";

const refuse = (what: string): MillraceError => new MillraceError(ErrorCode.INVALID_CONFIG, what);

/** Contents of the file that a setting names; undefined when it names none. */
const fileOf = (config: EtcdConfig, key: keyof EtcdConfig): Buffer | undefined => {
  const path = config[key];
  if (path === "") return undefined;
  try {
    return readFileSync(path);
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw refuse(`--${key}: ${path} cannot be read: ${reason}: check path and permissions`);
  }
};

const tlsOf = (config: EtcdConfig) => {
  const ca = fileOf(config, "etcd-ca-file");
  const certificate = fileOf(config, "etcd-cert-file");
  const key = fileOf(config, "etcd-key-file");
  if ((certificate === undefined) !== (key === undefined)) {
    throw refuse("--etcd-cert-file and --etcd-key-file belong together: set both, or none");
  }
  if (ca === undefined && certificate !== undefined) {
    throw refuse("--etcd-cert-file needs --etcd-ca-file: set the authorities that etcd's has");
  }
  if (ca === undefined) return undefined;
  return certificate === undefined || key === undefined ? { ca } : { ca, certificate, key };
};

const credentialsOf = (config: EtcdConfig) => {
  const password = fileOf(config, "etcd-password-file")
    ?.toString()
    .replace(/\r?\n$/, "");
  const user = config["etcd-user"];
  if ((user === "") !== (password === undefined)) {
    throw refuse("--etcd-user and --etcd-password-file belong together: set both, or none");
  }
  return password === undefined ? undefined : { user, password };
};

/** The store that the settings name; it connects at its first call. Throws INVALID_CONFIG. */
export const openStore = (
  config: EtcdConfig,
  { clock, random, logger }: Pick<Env, "clock" | "random" | "logger">,
): MetadataStore => {
  const tls = tlsOf(config);
  const credentials = credentialsOf(config);
  const serverName = config["etcd-server-name"];
  return openEtcdStore({
    ...{ clock, random, logger, root: config["etcd-prefix"] },
    endpoints: config["etcd-endpoints"]
      .split(",")
      .map((endpoint) => (endpoint.includes("://") ? endpoint : `http://${endpoint}`)),
    ...(tls === undefined ? {} : { tls }),
    ...(credentials === undefined ? {} : { credentials }),
    ...(serverName === "" ? {} : { serverName }),
  });
};

/** Settings of the metadata store of a cluster's process. */
import type { Schema, Values } from "@millrace/config";
import { text } from "./settings.ts";

const member = String.raw`(?:https?:\/\/)?[^/\s,]+:\d{1,5}`;

/** Which cluster a process belongs to. */
export const clusterIdSettings = {
  "cluster-id": text(
    /^[A-Za-z0-9_-]{0,64}$/,
    "up to 64 letters, digits, dashes and underscores, or empty",
    "",
    "Id of the cluster, as `millrace cluster status` shows it. The process waits until etcd holds " +
      "the record of this cluster, and a controller makes no other one. Empty: the cluster that the " +
      "data directory belongs to; with a new one, the cluster that is found.",
  ),
} as const satisfies Schema;

/** Where the metadata is. */
export const etcdSettings = {
  "etcd-endpoints": {
    type: "text",
    pattern: new RegExp(`^${member}(,${member})*$`),
    hint: "HOST:PORT[,…], or https://HOST:PORT[,…] with TLS",
    dynamic: false,
    description:
      "Members of the etcd cluster that holds the metadata, all with or all without TLS.",
  },
  "etcd-prefix": text(
    /^[\x21-\x7e]{1,99}\/$/,
    "1 to 100 characters that end with a slash",
    "/millrace/",
    "What the keys of this cluster in etcd begin with: one for each cluster.",
  ),
  "etcd-user": text(/^[^\s]*$/, "a name, or empty", "", "User in etcd."),
  "etcd-password-file": text(
    /^.*$/s,
    "a path, or empty",
    "",
    "File with the password of --etcd-user; a line end after it does not count.",
  ),
  "etcd-ca-file": text(
    /^.*$/s,
    "a path, or empty for the authorities of the system",
    "",
    "PEM file of the authorities that may sign the certificates of etcd.",
  ),
  "etcd-cert-file": text(
    /^.*$/s,
    "a path, or empty",
    "",
    "PEM file of the certificate that etcd is shown; needs --etcd-ca-file and --etcd-key-file.",
  ),
  "etcd-key-file": text(/^.*$/s, "a path, or empty", "", "PEM file of its key."),
  "etcd-server-name": text(
    /^[^\s]*$/,
    "a host name, or empty",
    "",
    "Name in the certificates of etcd, where it is not the host of the endpoints.",
  ),
} as const satisfies Schema;

export type EtcdConfig = Values<typeof etcdSettings>;

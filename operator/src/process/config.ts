/** Settings of the operator. */
import type { Schema } from "@millrace/config";
import { duration, listenerSettings, loggingSettings, text } from "@millrace/server/node";

/** DNS label, as the names of namespaces are. */
const namespacePattern = /^$|^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

/** One schema for flags, environment, file, help and reference. */
export const operatorSchema = {
  kubeconfig: text(
    /^.*$/s,
    "a path, or empty for the cluster that this pod runs in",
    "",
    "File with the address and the credentials of an API server.",
  ),
  "watch-namespace": text(
    namespacePattern,
    "a namespace, or empty for all",
    "",
    "Namespace whose objects are looked after.",
  ),
  "leader-election": {
    type: "boolean",
    default: true,
    dynamic: false,
    description: "Whether only one of several operators acts. Without it, run no second one.",
  },
  "lease-namespace": text(
    namespacePattern,
    "a namespace, or empty for that of this pod",
    "",
    "Namespace of the Lease that says which operator acts.",
  ),
  "lease-name": text(
    /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/,
    "a name of an object",
    "millrace-operator",
    "Name of that Lease. Operators with different ones know nothing of each other.",
  ),
  image: text(
    /^$|^[a-z0-9][^ ]*[:@][^ /]+$/,
    "an image with its tag or digest, or empty for none",
    "",
    "Image of the processes of Clusters whose spec names none.",
  ),
  "cluster-timeout": duration(
    1000,
    600_000,
    10_000,
    "How long a call to a Millrace cluster may take.",
  ),
  "http-listen": listenerSettings["http-listen"],
  ...loggingSettings,
} as const satisfies Schema;

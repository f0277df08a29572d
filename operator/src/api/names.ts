/** Names of objects, and references to them. */
import { object, text } from "./schema.ts";

/** A name of an object whose name is a subdomain of DNS. */
const subdomain = String.raw`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`;

/** Longest names of a Cluster and of a BrokerPool: `<pool>-<id>` and more must fit into a label. */
export const clusterNameMax = 40;
export const poolNameMax = 40;

export const objectName = <const O extends { readonly description: string }>(options: O) =>
  text({ ...options, min: 1, max: 253, pattern: subdomain });

const reference = (description: string, name: string, max: number) =>
  object({ name: text({ description: name, min: 1, max, pattern: subdomain }) }, { description });

export const clusterRef = reference(
  "The Cluster that this object belongs to, in the same namespace. It cannot be changed.",
  "Name of the Cluster.",
  clusterNameMax,
);

export const poolRef = reference(
  "The BrokerPool that the broker belongs to, in the same namespace. It cannot be changed.",
  "Name of the BrokerPool.",
  poolNameMax,
);

export const rebalanceRef = reference(
  "The Rebalance that gives new brokers their share.",
  "Name of the Rebalance, in the same namespace.",
  253,
);

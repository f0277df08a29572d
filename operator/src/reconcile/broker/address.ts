/** The address that clients are told for a broker, and the Service behind it. Pure. */
import { type Broker, type Cluster, resourceTypes } from "../../api/index.ts";
import { controllerReference } from "../../runtime/owners.ts";
import type { Service } from "./kinds.ts";

/** The address of the node that a pod is on, as its variables have it. */
export const hostIp = "$(MILLRACE_HOST_IP)";

type Listener = NonNullable<Cluster["spec"]["listeners"]>[number];

/** The one listener that a cluster has. */
export const listenerOf = ({ spec }: Cluster): Listener =>
  spec.listeners?.[0] ?? { name: "clients", type: "Internal", port: 7400 };

const ownAddress = ({ addresses }: Listener, nodeId: number) =>
  addresses?.find(({ id, role }) => role === "Broker" && id === nodeId);

const hostOf = (listener: Listener, nodeId: number): string | undefined =>
  ownAddress(listener, nodeId)?.host ??
  listener.hostTemplate?.replaceAll("{role}", "broker").replaceAll("{id}", String(nodeId));

/** Undefined where clients need none of its own: they reach the pod. */
export const serviceOf = (
  cluster: Cluster,
  broker: Broker,
  about: { readonly name: string; readonly labels: Readonly<Record<string, string>> },
): Service | undefined => {
  const listener = listenerOf(cluster);
  if (listener.type === "Internal") return undefined;
  const { externalTrafficPolicy, loadBalancerClass, loadBalancerSourceRanges } = listener;
  const { nodePort } = ownAddress(listener, broker.spec.nodeId) ?? {};
  const { annotations, port, type } = listener;
  return {
    ...{ apiVersion: "v1", kind: "Service" },
    metadata: {
      ...{ ...about, namespace: broker.metadata.namespace ?? "" },
      ...(annotations === undefined ? {} : { annotations }),
      ownerReferences: [controllerReference(resourceTypes.Broker, broker)],
    },
    spec: {
      ...{ type, selector: about.labels, publishNotReadyAddresses: true },
      ports: [
        {
          ...{ name: "client", port, targetPort: "client" },
          ...(nodePort === undefined ? {} : { nodePort }),
        },
      ],
      ...(externalTrafficPolicy === undefined ? {} : { externalTrafficPolicy }),
      ...(loadBalancerClass === undefined ? {} : { loadBalancerClass }),
      ...(loadBalancerSourceRanges === undefined ? {} : { loadBalancerSourceRanges }),
    },
  };
};

/** What of the Cluster's listener cannot be had, for people. */
export const addressProblem = (cluster: Cluster, nodeId: number): string | undefined => {
  const listener = listenerOf(cluster);
  const { nodeAddressType = "InternalIP", type } = listener;
  const isNodes = type === "NodePort" && hostOf(listener, nodeId) === undefined;
  if (!isNodes || nodeAddressType === "InternalIP") return undefined;
  const help = `set hostTemplate of listener ${listener.name}, or a host in its addresses`;
  return `nodes are told by their InternalIP alone, not by ${nodeAddressType}: ${help}`;
};

/** HOST:PORT, where the kubelet fills in $(NAME); undefined while the Service has none. */
export const addressOf = (
  cluster: Cluster,
  nodeId: number,
  podHost: string,
  service: Service | undefined,
): string | undefined => {
  const listener = listenerOf(cluster);
  const own = ownAddress(listener, nodeId);
  if (listener.type === "Internal") return `${podHost}:${listener.port}`;
  if (listener.type === "NodePort") {
    const port = own?.port ?? own?.nodePort ?? service?.spec.ports[0]?.nodePort;
    const host = hostOf(listener, nodeId) ?? hostIp;
    return port === undefined ? undefined : `${host}:${port}`;
  }
  const [ingress] = service?.status?.loadBalancer?.ingress ?? [];
  const host = hostOf(listener, nodeId) ?? ingress?.hostname ?? ingress?.ip;
  return host === undefined ? undefined : `${host}:${own?.port ?? listener.port}`;
};

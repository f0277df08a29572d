/** The listeners of a process, each with the services that belong to it. */
import {
  type HealthState,
  healthService,
  type Listener,
  reflectionServices,
  type ServiceBinding,
} from "@millrace/rpc";
import type { Undo } from "./undo.ts";

/** A listener and its address. */
export interface ListenAt {
  readonly listener: Listener;
  /** `host:port`; port 0 picks one. */
  readonly endpoint: string;
}

export interface Listeners {
  readonly client: ListenAt;
  readonly internal: ListenAt;
  readonly health: ListenAt;
  /** Longest wait for the open calls of clients at a stop, ms. */
  readonly graceMs: number;
}

/** The bound addresses. */
export interface BoundEndpoints {
  readonly client: string;
  readonly internal: string;
  readonly health: string;
}

/** Where others reach a process, `host:port` each. */
export interface Addresses {
  readonly clientEndpoint: string;
  readonly internalEndpoint: string;
}

/** What is served beside health and reflection. */
export interface Services {
  readonly client: readonly ServiceBinding[];
  /** For processes of the cluster alone. */
  readonly internal: readonly ServiceBinding[];
}

/** Opens all listeners. Clients come last: then everything else answers. */
export const listen = async (
  listeners: Listeners,
  services: Services,
  health: HealthState,
  undo: Undo,
): Promise<BoundEndpoints> => {
  const healthBinding = healthService(health);
  const all = [...services.client, healthBinding];
  const open = async (
    { listener, endpoint }: ListenAt,
    bindings: readonly ServiceBinding[],
    graceMs: number,
  ): Promise<string> => {
    const server = await listener.listen(endpoint, bindings);
    undo.add(() => server.shutdown(graceMs));
    return server.endpoint;
  };
  const probes = await open(listeners.health, [healthBinding], 0);
  const internal = await open(listeners.internal, [...services.internal, healthBinding], 0);
  const reflection = reflectionServices(all.map(({ desc }) => desc));
  const client = await open(listeners.client, [...all, ...reflection], listeners.graceMs);
  return { client, internal, health: probes };
};

/**
 * Coordinators watch over one another: the key of one that is dead is deleted at once, and the
 * others share its groups (ADR 26).
 */
import { type Endpoint, parseEndpoint } from "@millrace/errors";
import { decodeRecord, type KeyValue, keys } from "@millrace/metadata";
import { HolderWatch, type HolderWatchOptions } from "@millrace/server";

/** Each one is watched over by as many others, where there are so many. */
export const watchedPeers = 3;

/** The ids that follow `own` on a ring of ids. */
export const peersOf = (own: number, ids: Iterable<number>): readonly number[] => {
  const sorted = [...ids].sort((a, b) => a - b);
  const after = sorted.filter((id) => id > own);
  return [...after, ...sorted.filter((id) => id < own)].slice(0, watchedPeers);
};

export type PeerWatchOptions = Pick<
  HolderWatchOptions,
  "store" | "mirror" | "clock" | "logger" | "dialer"
> & { readonly coordinatorId: number };

export class PeerWatch {
  readonly #options: PeerWatchOptions;
  readonly #watches = new Map<number, HolderWatch>();
  readonly #stop: () => void;

  constructor(options: PeerWatchOptions) {
    this.#options = options;
    this.#stop = options.mirror.onChange((events) => {
      if (events.some(({ kv }) => kv.key.startsWith(keys.coordinators))) this.#choose();
    });
    this.#choose();
  }

  close(): void {
    this.#stop();
    for (const watch of this.#watches.values()) watch.close();
    this.#watches.clear();
  }

  #choose(): void {
    const { coordinatorId, ...shared } = this.#options;
    const registered = shared.mirror.entries(keys.coordinators);
    const ids = registered.map(({ key }) => Number(key.slice(keys.coordinators.length)));
    const peers = new Set(peersOf(coordinatorId, ids));
    for (const [id, watch] of this.#watches) {
      if (peers.has(id)) continue;
      watch.close();
      this.#watches.delete(id);
    }
    for (const id of peers) {
      if (this.#watches.has(id)) continue;
      const key = keys.coordinator(id);
      const name = `group coordinator ${id}`;
      this.#watches.set(id, new HolderWatch({ ...shared, key, name, endpointOf: endpointIn }));
    }
  }
}

/** Undefined for one that stops: it closes its listeners, and ends its registration itself. */
export const endpointIn = (kv: KeyValue): Endpoint | undefined => {
  try {
    const { internalEndpoint, shuttingDown } = decodeRecord.coordinator(kv);
    return shuttingDown ? undefined : parseEndpoint(internalEndpoint);
  } catch {
    return undefined;
  }
};

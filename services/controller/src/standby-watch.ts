/** Watches over the active controller from one that waits for its place. */
import { type Endpoint, parseEndpoint } from "@millrace/errors";
import { decodeRecord, type KeyValue, keys } from "@millrace/metadata";
import { HolderWatch, type HolderWatchOptions } from "@millrace/server";

export type StandbyWatchOptions = Pick<
  HolderWatchOptions,
  "store" | "mirror" | "clock" | "logger" | "dialer"
>;

export class StandbyWatch {
  readonly #watch: HolderWatch;

  constructor({ clock, dialer, logger, mirror, store }: StandbyWatchOptions) {
    this.#watch = new HolderWatch({
      ...{ clock, dialer, logger, mirror, store, key: keys.controller },
      ...{ endpointOf: endpointIn, name: "the active controller" },
    });
  }

  /** This process is elected, or stops. */
  close(): void {
    this.#watch.close();
  }
}

/** Undefined until it listens, and in a record that is damaged, which its readers say. */
const endpointIn = (kv: KeyValue): Endpoint | undefined => {
  try {
    return parseEndpoint(decodeRecord.controller(kv).internalEndpoint);
  } catch {
    return undefined;
  }
};

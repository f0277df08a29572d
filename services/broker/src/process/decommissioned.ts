/** A broker whose data directory was decommissioned serves no more. */
import type { Logger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  decodeRecord,
  type KeyValue,
  keys,
  type MetadataStore,
  type Mirror,
} from "@millrace/metadata";
import { BrokerIntent } from "@millrace/proto/common";

/** A broker, and its directory. */
interface Self {
  readonly brokerId: number;
  readonly directoryId: Uint8Array;
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** Whether the intent is about this directory: without an id it is about whoever has the id. */
const isOver = (kv: KeyValue, { directoryId }: Self): boolean => {
  const { intent, directoryId: gone, retiredDirectoryIds } = decodeRecord.brokerIntent(kv);
  // It may be deleted at any time: no record may be in it alone.
  if (retiredDirectoryIds.some((id) => isSame(id, directoryId))) return true;
  if (intent !== BrokerIntent.DECOMMISSIONED) return false;
  return gone.length === 0 || isSame(gone, directoryId);
};

/** Throws INVALID_CONFIG for a broker that was decommissioned with this directory. */
export const refuseDecommissioned = async (store: MetadataStore, self: Self): Promise<void> => {
  const [kv] = (await store.range({ key: keys.brokerIntent(self.brokerId) })).kvs;
  if (kv === undefined || !isOver(kv, self)) return;
  throw new MillraceError(
    ErrorCode.INVALID_CONFIG,
    `broker ${self.brokerId} was decommissioned with this data directory, or the directory was ` +
      "given up for maintenance: give it an empty one; after a decommission alone, millrace broker " +
      `uncordon ${self.brokerId} takes it back`,
  );
};

/**
 * Calls `onOver` when the broker is decommissioned, also if it is so already. An intent that cannot
 * be read is none.
 */
export const onceDecommissioned = (
  mirror: Pick<Mirror, "get" | "onChange">,
  self: Self,
  logger: Logger,
  onOver: () => void,
): (() => void) => {
  const key = keys.brokerIntent(self.brokerId);
  let isTold = false;
  const look = (): void => {
    const kv = mirror.get(key);
    try {
      if (isTold || kv === undefined || !isOver(kv, self)) return;
    } catch (thrown) {
      logger.error({ key, err: MillraceError.from(thrown) }, "a metadata value is refused");
      return;
    }
    isTold = true;
    onOver();
  };
  const stop = mirror.onChange((events) => {
    if (events.some(({ kv }) => kv.key === key)) look();
  });
  look();
  return stop;
};

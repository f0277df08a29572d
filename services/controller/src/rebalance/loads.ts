/** What brokers tell of their logs and disks. They are asked when it is needed, and not before. */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, formatEndpoint, MillraceError, parseEndpoint } from "@millrace/errors";
import { decodeRecord, keys, type Mirror } from "@millrace/metadata";
import { DescribeLogsRequestSchema, LogService } from "@millrace/proto/broker";
import { topicIdOf } from "@millrace/record";
import { type Dialer, methodOf } from "@millrace/rpc";
import { rebalanceLimits } from "../limits.ts";

/** The logs and the disk of a broker. */
export interface BrokerLogs {
  /** Of its logs, by the key of the partition. */
  readonly bytes: ReadonlyMap<string, number>;
  /** Undefined: the broker does not know, or is too old to tell. */
  readonly freeBytes: number | undefined;
}

/** By broker: those that have answered, and why the others have not. */
export interface Loads {
  readonly logs: ReadonlyMap<number, BrokerLogs>;
  readonly failures: ReadonlyMap<number, string>;
}

/** Reaches the brokers. */
export interface LoadsContext {
  readonly dialer: Dialer;
  readonly mirror: Pick<Mirror, "get">;
}

const method = methodOf(LogService.method.describeLogs);

const askOne = async (
  { dialer, mirror }: LoadsContext,
  brokerId: number,
  topics: readonly string[],
): Promise<BrokerLogs> => {
  const kv = mirror.get(keys.broker(brokerId));
  const address = kv && parseEndpoint(decodeRecord.broker(kv).internalEndpoint);
  if (address === undefined) {
    throw new MillraceError(ErrorCode.UNAVAILABLE, "it has told no address yet");
  }
  const channel = dialer.dial(formatEndpoint(address), address);
  try {
    const request = create(DescribeLogsRequestSchema, { topics: [...topics] });
    const options = { timeoutMs: rebalanceLimits.logsWaitMsMax };
    const { diskFreeBytes, logs } = await channel.unary(method, request, options);
    const bytes = logs.map(({ topicId, partition, sizeBytes }): [string, number] => {
      return [keys.partition(topicIdOf(topicId), partition), Number(sizeBytes)];
    });
    const freeBytes = diskFreeBytes === undefined ? undefined : Number(diskFreeBytes);
    return { bytes: new Map(bytes), freeBytes };
  } finally {
    channel.close();
  }
};

/** Asks all of these brokers at once. Without topics: for all of their logs. Never rejects. */
export const askLoads = async (
  context: LoadsContext,
  brokers: Iterable<number>,
  topics: readonly string[] = [],
): Promise<Loads> => {
  const logs = new Map<number, BrokerLogs>();
  const failures = new Map<number, string>();
  await Promise.all(
    [...brokers].map(async (id) => {
      try {
        logs.set(id, await askOne(context, id, topics));
      } catch (thrown) {
        failures.set(id, MillraceError.from(thrown).message);
      }
    }),
  );
  return { logs, failures };
};

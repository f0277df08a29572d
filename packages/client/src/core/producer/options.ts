import { ErrorCode, MillraceError } from "@millrace/errors";
import type { BatchCompression } from "@millrace/record";
import { checkFields, inRange, oneOf, type Shape } from "../checks.ts";
import { leaderSilentMs } from "../deadlines.ts";
import type { ProducerOptions } from "../types.ts";

/** Producer options with every default in place. */
export interface CheckedOptions {
  readonly acks: "all" | "leader" | "none";
  readonly lingerMs: number | undefined;
  readonly batchBytesMax: number;
  readonly bufferBytesMax: number;
  readonly compression: BatchCompression;
  readonly compressionLevel: number | undefined;
  readonly deliveryTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly inFlightPerPartitionMax: number;
  readonly idempotence: boolean;
  readonly partitioner: ProducerOptions["partitioner"];
  readonly onError: ProducerOptions["onError"];
}

/** Acks all alone can keep what idempotence promises (KIP-679). Throws INVALID_REQUEST. */
const checkIdempotence = ({
  acks = "all",
  idempotence,
}: Pick<ProducerOptions, "acks" | "idempotence">): boolean => {
  if (idempotence !== true || acks === "all") return idempotence ?? acks === "all";
  throw new MillraceError(
    ErrorCode.INVALID_REQUEST,
    `idempotence needs acks "all", not "${acks}": a leader may lose what it has acknowledged ` +
      "alone; leave out one of the two options",
  );
};

const shape: Shape<ProducerOptions> = {
  acks: "any?",
  lingerMs: "any?",
  batchBytesMax: "any?",
  bufferBytesMax: "any?",
  compression: "any?",
  compressionLevel: "integer?",
  deliveryTimeoutMs: "any?",
  requestTimeoutMs: "any?",
  inFlightPerPartitionMax: "any?",
  idempotence: "boolean?",
  partitioner: "function?",
  onError: "function?",
  onState: "function?",
  keySerializer: "function?",
  valueSerializer: "function?",
};

/** Checks producer options. Throws INVALID_REQUEST. */
export const checkOptions = <K, V>(options: ProducerOptions<K, V>): CheckedOptions => {
  checkFields("client.producer", options, shape);
  const mib = 1024 * 1024;
  const { lingerMs } = options;
  return {
    acks: oneOf("acks", options.acks ?? "all", ["all", "leader", "none"]),
    lingerMs: lingerMs === undefined ? undefined : inRange("lingerMs", lingerMs, 0, 60_000),
    batchBytesMax: inRange("batchBytesMax", options.batchBytesMax ?? 128 * 1024, 1, 7 * mib),
    bufferBytesMax: inRange("bufferBytesMax", options.bufferBytesMax ?? 32 * mib, 1024, 2 ** 40),
    compression: oneOf("compression", options.compression ?? "none", [
      "none",
      "gzip",
      "zstd",
      "lz4",
    ]),
    compressionLevel: options.compressionLevel,
    deliveryTimeoutMs: inRange(
      "deliveryTimeoutMs",
      options.deliveryTimeoutMs ?? 120_000,
      1,
      86_400_000,
    ),
    requestTimeoutMs: inRange(
      "requestTimeoutMs",
      options.requestTimeoutMs ?? leaderSilentMs,
      1,
      86_400_000,
    ),
    inFlightPerPartitionMax: inRange(
      "inFlightPerPartitionMax",
      options.inFlightPerPartitionMax ?? 16,
      1,
      64,
    ),
    idempotence: checkIdempotence(options),
    partitioner: options.partitioner,
    onError: options.onError,
  };
};

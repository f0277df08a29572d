export { BrokerIntent } from "@millrace/proto/common";
export * from "./admin.ts";
export { isEndpoint } from "./checks.ts";
export * from "./client.ts";
export { Consumer, type IterationOptions } from "./consumer/consumer.ts";
export type { BrokerInfo } from "./metadata/index.ts";
export { murmur2, partitionOfKey } from "./partitioner.ts";
export { Producer } from "./producer/producer.ts";
export * from "./types.ts";

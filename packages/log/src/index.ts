export * from "./api.ts";
export { type BugName, bugs } from "./bugs.ts";
export type { BeginPass } from "./compaction/pass.ts";
export { defaultLogConfig, defaultManagerConfig } from "./defaults.ts";
export { partitionDirectory } from "./files/paths.ts";
export { openLogManager } from "./open.ts";
export { batchesKept, type ProducerTable } from "./partition/producer-table.ts";
export { type DumpedBatch, type DumpFault, dumpSegment } from "./tools/dump.ts";
export { type Damage, type VerifyReport, verifyDirectory } from "./tools/verify.ts";

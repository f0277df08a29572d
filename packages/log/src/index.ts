export * from "./api.ts";
export { type BugName, bugs } from "./bugs.ts";
export { defaultLogConfig, defaultManagerConfig } from "./defaults.ts";
export { type DumpedBatch, type DumpFault, dumpSegment } from "./dump.ts";
export { openLogManager } from "./manager.ts";
export { partitionDirectory } from "./paths.ts";
export type { ProducerTable } from "./producers.ts";
export { type Damage, type VerifyReport, verifyDirectory } from "./verify.ts";

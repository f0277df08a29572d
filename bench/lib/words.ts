/** What the metrics of the claims are called in tables and plots, units included. */
export const words = {
  readySeconds: "ready, s",
  idleRssMiB: "memory when idle, MiB",
  recordsPerSecond: "records/s",
  mibPerSecond: "MiB/s",
  clientCpuSecondsPerMillion: "client CPU, s per million records",
  serverCpuSecondsPerMillion: "server CPU, s per million records",
  cpuSecondsPerMillion: "client + server CPU, s per million records",
  serverCpuSecondsPerGiB: "server CPU, s per GiB",
  serverRssMaxMiB: "server memory at most, MiB",
  diskReadShare: "bytes from the disk per byte read",
  repeatedShare: "bytes sent twice per byte read",
  p50Ms: "end to end p50, ms",
  p99Ms: "end to end p99, ms",
  ackp50Ms: "acknowledged p50, ms",
  ackp99Ms: "acknowledged p99, ms",
  ackp999Ms: "acknowledged p99.9, ms",
  endp99Ms: "end to end p99, ms",
  fsyncsPerAck: "fsyncs per acknowledgement",
  openFiles: "open files when idle",
  rssAfterKillMiB: "memory after kill -9 and start, MiB",
  cleanStartSeconds: "ready after a clean stop, s",
  startAfterKillSeconds: "ready after kill -9, s",
  servedAfterKillSeconds: "old record read, new one acknowledged after kill -9, s",
  fetchAfterCleanStopSeconds: "old record read after a clean stop, s",
} as const;

export type Metric = keyof typeof words;

/** A log on a simulated disk, for tests of what fails, stops and is started again. */
import { type Clock, type Env, type Logger, silentLogger } from "@millrace/env";
import { syncCompressor } from "@millrace/record/node";
import { type CrashModel, Incarnation, Kernel, SimDisk } from "@millrace/sim";
import type { LogConfig, LogManager, LogManagerConfig, PartitionLog } from "./api.ts";
import { defaultLogConfig, defaultManagerConfig } from "./defaults.ts";
import { openLogManager } from "./open.ts";
import { PauseCounter, topicA } from "./testing.ts";

/** One life of a process. */
export interface SimulatedLog {
  readonly manager: LogManager;
  /** Partition `index` of the topic; made on first use. */
  log(index?: number): Promise<PartitionLog>;
  /** The process's clock, to be changed. */
  readonly clock: Clock;
  die(how: CrashModel): void;
}

export interface Simulation {
  readonly kernel: Kernel;
  readonly disk: SimDisk;
  start(): Promise<SimulatedLog>;
  /** Settings of the directory for the starts that follow. */
  configure(manager: Partial<LogManagerConfig>): void;
  /** Pauses of every process. */
  readonly pauses: PauseCounter;
  /** Ends the process that was started last, also in the middle of its start. */
  die(how: CrashModel): void;
  sleep(ms: number): Promise<void>;
}

/** A fault: no recovery point is written. */
export const noPoints = (_: string, path: string): string | undefined =>
  path.startsWith("recovery-points") ? "EAGAIN" : undefined;

/**
 * Runs a test in virtual time. Nothing happens in the background unless the settings ask for it.
 */
export const simulate = async (
  settings: {
    seed?: number;
    log?: Partial<LogConfig>;
    manager?: Partial<LogManagerConfig>;
    logger?: Logger;
  },
  run: (simulation: Simulation) => Promise<void>,
): Promise<void> => {
  const kernel = new Kernel(settings.seed ?? 1);
  const disk = new SimDisk(kernel.random);
  const config: LogConfig = { ...defaultLogConfig, retentionMs: -1, ...settings.log };
  let latest: Incarnation | undefined;
  let managerSettings = settings.manager;
  const configure = (manager: Partial<LogManagerConfig>): void => {
    managerSettings = manager;
  };
  const die = (how: CrashModel): void => {
    latest?.kill();
    disk.crash(how);
  };
  const pauses = new PauseCounter();
  const start = async (): Promise<SimulatedLog> => {
    const process = new Incarnation(kernel);
    latest = process;
    const clock = pauses.clock(process.clock());
    const env: Env = {
      clock,
      random: kernel.random,
      disk: disk.mount(process),
      compressor: syncCompressor,
      logger: settings.logger ?? silentLogger,
    };
    const manager = await openLogManager({
      env,
      identity: { clusterId: "sim", brokerId: 1 },
      config: {
        ...defaultManagerConfig,
        journalFileBytes: 256 * 1024,
        journalBytesMax: 1024 * 1024,
        tailCacheBytesMax: 0,
        diskReserveBytes: 0,
        writeLingerMs: 1,
        syncStepBytes: 1e9,
        checkpointIntervalMs: 1e9,
        retentionCheckIntervalMs: 1e9,
        cleanerIntervalMs: 1e9,
        cleanerMapBytesMax: 1024 * 1024,
        cleanerBytesPerSecondMax: 0,
        ...managerSettings,
      },
      configFor: () => config,
    });
    return {
      manager,
      clock,
      log: (index = 0) => manager.create(topicA, "t", index, config),
      die: (how) => {
        process.kill();
        disk.crash(how);
      },
    };
  };
  const sleep = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      kernel.schedule(ms, resolve);
    });
  await kernel.run(run({ kernel, disk, pauses, start, configure, die, sleep }));
};

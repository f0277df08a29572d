/** What the next start of a data directory would find, without the start. */
import { type Clock, type Compressor, type Random, silentLogger } from "@millrace/env";
import type { DirectoryIdentity } from "../api.ts";
import { defaultLogConfig, defaultManagerConfig } from "../defaults.ts";
import { noPauses } from "../files/breathe.ts";
import { makeParts, recover } from "../open.ts";
import type { Partition } from "../partition/partition.ts";
import type { FoundPoints } from "../recovery/recovery-points.ts";
import type { DryDisk } from "./dry-disk.ts";

/** Time stands still: nothing happens in the background. */
const stillClock = (wallMs: number): Clock => ({
  ...noPauses,
  monoMs: () => 0,
  wallMs: () => wallMs,
  timer: () => () => {},
  sleep: async () => {},
});

const noRandom: Random = {
  float: () => 0,
  below: () => 0,
  bytes: (length) => new Uint8Array(length),
};

/** Nobody waits out a shortage of descriptors here, as a server does. */
const openFilesMax = 64;

export interface DryStart {
  readonly disk: DryDisk;
  readonly compressor: Compressor;
  readonly identity: DirectoryIdentity;
  readonly directoryId: Uint8Array;
  readonly found: FoundPoints | undefined;
  readonly clean: boolean;
}

/**
 * The partitions as the start would load them, by their directories' names; `disk` has their files
 * as it would leave them. Takes as much memory as the journal has that the segments lack.
 */
export const startDry = async (input: DryStart): Promise<readonly Partition[]> => {
  const { clean, compressor, directoryId, disk, found, identity } = input;
  const clock = stillClock(found?.wallTimeMs ?? 0);
  const options = {
    env: { clock, random: noRandom, disk, compressor, logger: silentLogger },
    identity,
    config: { ...defaultManagerConfig, openFilesMax },
    configFor: () => defaultLogConfig,
  };
  const parts = makeParts(options, directoryId, found?.wallTimeMs);
  try {
    await recover(options, parts, found, clean);
  } finally {
    await parts.context.files.closeAll();
  }
  return [...parts.partitions.values()].sort((a, b) => (a.directory < b.directory ? -1 : 1));
};

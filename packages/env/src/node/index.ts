import type { Compressor, Env, Logger } from "../env.ts";
import { nodeClock, nodeRandom } from "./clock.ts";
import { nodeDisk } from "./disk.ts";

export { nodeClock, nodeRandom } from "./clock.ts";
export { fileOfDescriptor, nodeDisk } from "./disk.ts";

/** The environment of this process. `dataDirectory` must exist; it is the root of the disk. */
export const nodeEnv = (options: {
  readonly dataDirectory: string;
  readonly compressor: Compressor;
  readonly logger: Logger;
}): Env => ({
  clock: nodeClock(),
  random: nodeRandom(),
  disk: nodeDisk(options.dataDirectory),
  compressor: options.compressor,
  logger: options.logger,
});

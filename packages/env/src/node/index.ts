import type { Compressor, Env, Logger } from "../env.ts";
import { nodeClock, nodeRandom } from "./clock.ts";
import { nodeDisk } from "./disk.ts";

export { nodeClock, nodeRandom } from "./clock.ts";
export { nodeDisk } from "./disk.ts";

/** The world of this process, its disk rooted at `dataDirectory`, which must exist. */
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

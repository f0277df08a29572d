/** Compression of simulated brokers. */
import type { Clock, Compressor, Random } from "@millrace/env";
import { syncCompressor } from "@millrace/record/node";

/** Longest time that inflating a batch takes, ms. */
const inflatingMsMax = 10;

/** Inflating takes time, as on a thread of its own: what comes meanwhile waits behind it. */
export const slowInflating = (clock: Clock, random: Random): Compressor => ({
  ...syncCompressor,
  decompress: async (kind, bytes, maxBytes) => {
    await clock.sleep(random.float() * inflatingMsMax);
    return syncCompressor.decompress(kind, bytes, maxBytes);
  },
});

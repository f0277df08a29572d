export { type CrashModel, type DiskImage, SimDisk } from "./disk.ts";
export { Incarnation, Kernel } from "./kernel.ts";
export { SeededRandom } from "./random.ts";

export { type CrashModel, type DiskImage, SimDisk } from "./disk.ts";
export { Incarnation, Kernel } from "./kernel.ts";
export type { Marks } from "./marks.ts";
export { type Hosts, SimNetwork } from "./network/network.ts";
export { SeededRandom } from "./random.ts";
export { mountStore } from "./store.ts";

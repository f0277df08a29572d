export { type Booted, type BootOptions, boot } from "./boot.ts";
export type { ListenAt, Listeners } from "./listen.ts";

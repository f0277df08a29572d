export { type Booted, type BootOptions, boot } from "./boot.ts";

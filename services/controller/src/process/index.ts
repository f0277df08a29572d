export { type Booted, type BootOptions, boot } from "./boot.ts";
export { campaign, controllerServices } from "./parts.ts";

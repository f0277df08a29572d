export { HolderWatch, type HolderWatchOptions, holderWatchLimits } from "./holder-watch.ts";
export {
  type Addresses,
  type BoundEndpoints,
  type ListenAt,
  type Listeners,
  listen,
  type Services,
} from "./listen.ts";
export { catchUp, startMirror } from "./mirror.ts";
export { type PatienceOptions, untilAnswered } from "./patience.ts";
export type { ProcessOptions } from "./process-options.ts";
export { beginServing } from "./serving.ts";
export { startOrUndo, Undo } from "./undo.ts";

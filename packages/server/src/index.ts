export {
  type BoundEndpoints,
  type ListenAt,
  type Listeners,
  listen,
  type Services,
} from "./listen.ts";
export { Undo } from "./undo.ts";

/** Names that the wire messages had before; packages outside the server still use some. */
export type {
  WireFetchCursor as HotFetchCursor,
  WireFetchRequest as HotFetchRequest,
  WireFetchResponse as HotFetchResponse,
  WireProduceRequest as HotProduceRequest,
  WireProduceResponse as HotProduceResponse,
  WireProduceResult as HotProduceResult,
} from "./messages.ts";

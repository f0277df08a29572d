/** The methods whose messages have hand-written codecs: the streams of records. */
import { FetchService, ProduceService } from "@millrace/proto/broker";
import {
  fetchRequestCodec,
  fetchResponseCodec,
  produceRequestCodec,
  produceResponseCodec,
  type WireFetchRequest,
  type WireFetchResponse,
  type WireProduceRequest,
  type WireProduceResponse,
} from "@millrace/record";
import { wireMethodOf } from "./method.ts";

/** `millrace.broker.v1.ProduceService/Produce`. */
export const produceMethod = wireMethodOf<WireProduceRequest, WireProduceResponse>(
  ProduceService.method.produce,
  { input: produceRequestCodec, output: produceResponseCodec },
);

/** `millrace.broker.v1.FetchService/Fetch`. */
export const fetchMethod = wireMethodOf<WireFetchRequest, WireFetchResponse>(
  FetchService.method.fetch,
  { input: fetchRequestCodec, output: fetchResponseCodec },
);

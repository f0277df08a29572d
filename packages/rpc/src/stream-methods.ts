/** The methods whose messages have hand-written codecs: the streams of records. */
import { FetchService, ProduceService, ReplicationService } from "@millrace/proto/broker";
import {
  fetchRequestCodec,
  fetchResponseCodec,
  produceRequestCodec,
  produceResponseCodec,
  replicateRequestCodec,
  replicateResponseCodec,
  type WireFetchRequest,
  type WireFetchResponse,
  type WireProduceRequest,
  type WireProduceResponse,
  type WireReplicateRequest,
  type WireReplicateResponse,
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

/** `millrace.broker.v1.ReplicationService/Replicate`. */
export const replicateMethod = wireMethodOf<WireReplicateRequest, WireReplicateResponse>(
  ReplicationService.method.replicate,
  { input: replicateRequestCodec, output: replicateResponseCodec },
);

/** The methods that the client calls. Stream methods use the hand-written codecs. */
import {
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { FetchService, LogService, MetadataService, ProduceService } from "@millrace/proto/broker";
import { AdminService } from "@millrace/proto/controller";
import {
  fetchRequestCodec,
  fetchResponseCodec,
  type HotFetchRequest,
  type HotFetchResponse,
  type HotProduceRequest,
  type HotProduceResponse,
  produceRequestCodec,
  produceResponseCodec,
} from "@millrace/record";
import type { Codec, Method } from "@millrace/rpc";

type Described<I extends DescMessage, O extends DescMessage> = DescMethod & {
  readonly input: I;
  readonly output: O;
};

const generated = <T extends DescMessage>(schema: T): Codec<MessageShape<T>> => ({
  encode: (message) => toBinary(schema, message),
  decode: (bytes) => fromBinary(schema, bytes),
});

const pathOf = (desc: DescMethod): string => `/${desc.parent.typeName}/${desc.name}`;

const method = <I extends DescMessage, O extends DescMessage>(
  desc: Described<I, O>,
): Method<MessageShape<I>, MessageShape<O>> => ({
  desc,
  path: pathOf(desc),
  kind: desc.methodKind,
  input: generated(desc.input),
  output: generated(desc.output),
});

/** `millrace.broker.v1.ProduceService/Produce`. */
export const produceMethod: Method<HotProduceRequest, HotProduceResponse> = {
  desc: ProduceService.method.produce,
  path: pathOf(ProduceService.method.produce),
  kind: "bidi_streaming",
  input: produceRequestCodec,
  output: produceResponseCodec,
};

/** `millrace.broker.v1.FetchService/Fetch`. */
export const fetchMethod: Method<HotFetchRequest, HotFetchResponse> = {
  desc: FetchService.method.fetch,
  path: pathOf(FetchService.method.fetch),
  kind: "bidi_streaming",
  input: fetchRequestCodec,
  output: fetchResponseCodec,
};

/** Unary methods, by service. */
export const methods = {
  getMetadata: method(MetadataService.method.getMetadata),
  listOffsets: method(LogService.method.listOffsets),
  deleteRecords: method(LogService.method.deleteRecords),
  describeLogs: method(LogService.method.describeLogs),
  createTopic: method(AdminService.method.createTopic),
  deleteTopic: method(AdminService.method.deleteTopic),
  createPartitions: method(AdminService.method.createPartitions),
  alterConfigs: method(AdminService.method.alterConfigs),
  describeConfigs: method(AdminService.method.describeConfigs),
  listTopics: method(AdminService.method.listTopics),
  describeTopics: method(AdminService.method.describeTopics),
} as const;

/** The methods that the client calls. Stream methods use the hand-written codecs. */
import {
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { FetchService, LogService, ProduceService } from "@millrace/proto/broker";
import {
  AdminService,
  BrokersService,
  MaintenanceService,
  RebalanceService,
} from "@millrace/proto/controller";
import { GroupService } from "@millrace/proto/group";
import { MetadataService } from "@millrace/proto/metadata";
import type { Codec, Method } from "@millrace/rpc";

export { fetchMethod, produceMethod } from "@millrace/rpc";

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

/** Methods with generated codecs, by service. */
export const methods = {
  getMetadata: method(MetadataService.method.getMetadata),
  watchMetadata: method(MetadataService.method.watchMetadata),
  initProducerId: method(ProduceService.method.initProducerId),
  getLatest: method(FetchService.method.getLatest),
  listOffsets: method(LogService.method.listOffsets),
  deleteRecords: method(LogService.method.deleteRecords),
  describeLogs: method(LogService.method.describeLogs),
  createTopic: method(AdminService.method.createTopic),
  deleteTopic: method(AdminService.method.deleteTopic),
  createPartitions: method(AdminService.method.createPartitions),
  alterConfigs: method(AdminService.method.alterConfigs),
  describeConfigs: method(AdminService.method.describeConfigs),
  listTopics: method(AdminService.method.listTopics),
  electLeader: method(AdminService.method.electLeader),
  describeTopics: method(AdminService.method.describeTopics),
  alterPartitionReassignments: method(AdminService.method.alterPartitionReassignments),
  listPartitionReassignments: method(AdminService.method.listPartitionReassignments),
  setBrokerIntent: method(BrokersService.method.setBrokerIntent),
  describeBrokers: method(BrokersService.method.describeBrokers),
  acquireMaintenance: method(MaintenanceService.method.acquireMaintenance),
  renewMaintenance: method(MaintenanceService.method.renewMaintenance),
  releaseMaintenance: method(MaintenanceService.method.releaseMaintenance),
  listMaintenance: method(MaintenanceService.method.listMaintenance),
  join: method(GroupService.method.join),
  listGroups: method(GroupService.method.listGroups),
  describeGroup: method(GroupService.method.describeGroup),
  commitOffsets: method(GroupService.method.commitOffsets),
  fetchOffsets: method(GroupService.method.fetchOffsets),
  resetOffsets: method(GroupService.method.resetOffsets),
  deleteGroup: method(GroupService.method.deleteGroup),
  planRebalance: method(RebalanceService.method.planRebalance),
  startRebalance: method(RebalanceService.method.startRebalance),
  pauseRebalance: method(RebalanceService.method.pauseRebalance),
  resumeRebalance: method(RebalanceService.method.resumeRebalance),
  abortRebalance: method(RebalanceService.method.abortRebalance),
  describeRebalance: method(RebalanceService.method.describeRebalance),
  listRebalances: method(RebalanceService.method.listRebalances),
} as const;

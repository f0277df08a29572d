/** All mutants, a file per package. */
import type { Mutant } from "../mutant.ts";
import { benchMutants } from "./bench.ts";
import { brokerMutants } from "./broker.ts";
import { chaosMutants } from "./chaos.ts";
import { clientMutants } from "./client.ts";
import { clientGroupMutants } from "./client-groups.ts";
import { commandLineMutants } from "./command-line.ts";
import { conditionalAppendMutants } from "./conditional-append.ts";
import { controllerMutants } from "./controller.ts";
import { directoryMutants } from "./directories.ts";
import { foreignStoreMutants } from "./foreign-stores.ts";
import { groupAssignorMutants } from "./group-assignors.ts";
import { groupMutants } from "./group-coordinator.ts";
import { groupProcessMutants } from "./group-process.ts";
import { handOverMutants } from "./hand-over.ts";
import { heartbeatMutants } from "./heartbeats.ts";
import { kindMutants } from "./kinds.ts";
import { outsideMutants } from "./languages.ts";
import { latestMutants } from "./latest.ts";
import { logMutants } from "./log.ts";
import { maintenanceMutants } from "./maintenance.ts";
import { metadataMutants } from "./metadata.ts";
import { metadataEtcdMutants } from "./metadata-etcd.ts";
import { moveMutants } from "./moves.ts";
import { observabilityMutants } from "./observability.ts";
import { operatorBrokerMutants } from "./operator-brokers.ts";
import { operatorProcessMutants } from "./operator-process.ts";
import { operatorRuntimeMutants } from "./operator-runtime.ts";
import { operatorTopicMutants } from "./operator-topics.ts";
import { processMutants } from "./processes.ts";
import { producerIdMutants } from "./producer-ids.ts";
import { protocolMutants } from "./protocol.ts";
import { rebalanceMutants } from "./rebalance.ts";
import { recordMutants } from "./record.ts";
import { resignationMutants } from "./resignations.ts";
import { rpcMutants } from "./rpc.ts";
import { simMutants } from "./sim.ts";
import { toolsClusterMutants } from "./tools-cluster.ts";
import { toolsImagesMutants } from "./tools-images.ts";
import { toolsKubernetesMutants } from "./tools-k8s.ts";

export const allMutants: readonly Mutant[] = [
  ...logMutants,
  ...rebalanceMutants,
  ...recordMutants,
  ...brokerMutants,
  ...clientMutants,
  ...clientGroupMutants,
  ...commandLineMutants,
  ...conditionalAppendMutants,
  ...controllerMutants,
  ...directoryMutants,
  ...foreignStoreMutants,
  ...groupAssignorMutants,
  ...groupMutants,
  ...groupProcessMutants,
  ...handOverMutants,
  ...heartbeatMutants,
  ...kindMutants,
  ...latestMutants,
  ...maintenanceMutants,
  ...moveMutants,
  ...operatorBrokerMutants,
  ...operatorRuntimeMutants,
  ...operatorProcessMutants,
  ...operatorTopicMutants,
  ...outsideMutants,
  ...producerIdMutants,
  ...metadataMutants,
  ...metadataEtcdMutants,
  ...resignationMutants,
  ...rpcMutants,
  ...simMutants,
  ...processMutants,
  ...observabilityMutants,
  ...protocolMutants,
  ...toolsClusterMutants,
  ...toolsImagesMutants,
  ...toolsKubernetesMutants,
  ...chaosMutants,
  ...benchMutants,
];

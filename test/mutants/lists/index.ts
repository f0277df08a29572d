/** All mutants, a file per package. */
import type { Mutant } from "../mutant.ts";
import { benchMutants } from "./bench.ts";
import { brokerMutants } from "./broker.ts";
import { clientMutants } from "./client.ts";
import { controllerMutants } from "./controller.ts";
import { handOverMutants } from "./hand-over.ts";
import { heartbeatMutants } from "./heartbeats.ts";
import { logMutants } from "./log.ts";
import { metadataMutants } from "./metadata.ts";
import { metadataEtcdMutants } from "./metadata-etcd.ts";
import { processMutants } from "./processes.ts";
import { producerIdMutants } from "./producer-ids.ts";
import { protocolMutants } from "./protocol.ts";
import { recordMutants } from "./record.ts";
import { rpcMutants } from "./rpc.ts";
import { simMutants } from "./sim.ts";
import { toolsClusterMutants } from "./tools-cluster.ts";

export const allMutants: readonly Mutant[] = [
  ...logMutants,
  ...recordMutants,
  ...brokerMutants,
  ...clientMutants,
  ...controllerMutants,
  ...handOverMutants,
  ...heartbeatMutants,
  ...producerIdMutants,
  ...metadataMutants,
  ...metadataEtcdMutants,
  ...rpcMutants,
  ...simMutants,
  ...processMutants,
  ...protocolMutants,
  ...toolsClusterMutants,
  ...benchMutants,
];

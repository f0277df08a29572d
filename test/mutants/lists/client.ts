/** Mutants of the client, the command line, and the calling side of rpc. */
import type { Mutant } from "../mutant.ts";
import { adminMutants } from "./client/admin.ts";
import { apiMutants } from "./client/api.ts";
import { cliMutants } from "./client/cli.ts";
import { consumerMutants } from "./client/consumer.ts";
import { idempotenceMutants } from "./client/idempotence.ts";
import { metadataMutants } from "./client/metadata.ts";
import { producerMutants } from "./client/producer.ts";
import { rpcClientMutants } from "./client/rpc-client.ts";
import { watchMutants } from "./client/watch.ts";

export const clientMutants: readonly Mutant[] = [
  ...adminMutants,
  ...apiMutants,
  ...consumerMutants,
  ...producerMutants,
  ...idempotenceMutants,
  ...metadataMutants,
  ...watchMutants,
  ...rpcClientMutants,
  ...cliMutants,
];

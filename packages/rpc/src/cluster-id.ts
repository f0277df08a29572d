/** Calls name the cluster that they mean: an address may have been given to another one. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { Binding, CallContext, ServerStream, ServiceBinding } from "./api.ts";

/** Call metadata with the cluster id, where it is not in an opening message. Absent means any. */
export const clusterIdKey = "millrace-cluster-id";

/** Throws CLUSTER_ID_MISMATCH when a client means another cluster; an empty `wanted` means any. */
export const refuseOtherCluster = (own: string, wanted: string): void => {
  if (wanted === "" || wanted === own) return;
  throw MillraceError.refusal(
    ErrorCode.CLUSTER_ID_MISMATCH,
    `this is cluster ${own}, not ${JSON.stringify(wanted.slice(0, 64))}: check the bootstrap address`,
  );
};

/** What a client sends along with a call; nothing while it does not know the id. */
export const clusterIdMetadata = (clusterId: string): ReadonlyMap<string, string> | undefined =>
  // Anything else cannot be a header, and is no id of ours.
  /^[\x21-\x7e]+$/.test(clusterId) ? new Map([[clusterIdKey, clusterId]]) : undefined;

/**
 * The service behind a check: a call that names another cluster is refused before its handler sees
 * it. Bidirectional streams are not checked here: their opening message names the cluster.
 * `clusterId` is called only for calls that name a cluster.
 */
export const ofCluster = (
  service: ServiceBinding,
  clusterId: () => string | Promise<string>,
): ServiceBinding => {
  const check = async ({ metadata }: CallContext): Promise<void> => {
    const wanted = metadata.get(clusterIdKey);
    if (wanted !== undefined) refuseOtherCluster(await clusterId(), wanted);
  };
  const checked = (binding: Binding): Binding => {
    if (binding.kind === "bidi_streaming") return binding;
    if (binding.kind === "unary") {
      const { handler } = binding;
      return {
        ...binding,
        handler: async (request: never, context: CallContext) => {
          await check(context);
          return handler(request, context);
        },
      };
    }
    const { handler } = binding;
    return {
      ...binding,
      handler: async (request: never, stream: ServerStream<never, never>) => {
        await check(stream.context);
        await handler(request, stream);
      },
    };
  };
  return { ...service, bindings: service.bindings.map(checked) };
};

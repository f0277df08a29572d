/** All that is known of one broker at a moment. Pure. */
import type { Broker, BrokerPool, Cluster } from "../../api/index.ts";
import { isBeingDeleted } from "../../runtime/finalizers.ts";
import { isControlledBy } from "../../runtime/owners.ts";
import type { FoundBroker } from "./cluster-brokers.ts";
import { type Hashes, hasHashes } from "./hashes.ts";
import type { Claim, Pod } from "./kinds.ts";

/** Annotations of a pod: what it was made from. */
export const templateAnnotation = "millrace.dev/pod-template-hash";
export const configAnnotation = "millrace.dev/config-hash";
export const addressAnnotation = "millrace.dev/address";

/** What the cluster says. `unasked`: it cannot be asked; `message` has why, and `error`. */
export type Asked =
  | { readonly type: "unasked"; readonly message: string; readonly error?: Error }
  /** `found` is absent where the cluster has never known the broker. */
  | { readonly type: "asked"; readonly found?: FoundBroker | undefined };

export interface View {
  readonly broker: Broker;
  readonly pool: BrokerPool;
  readonly cluster: Cluster;
  /** What a pod that is made now is made from. */
  readonly renders: Hashes;
  readonly pod?: Pod | undefined;
  readonly claim?: Claim | undefined;
  /** HOST:PORT that clients are told for the broker; absent while its Service has none. */
  readonly address?: string | undefined;
  readonly asked: Asked;
}

export const podHashes = ({ metadata: { annotations = {} } }: Pod): Partial<Hashes> => ({
  ...(annotations[templateAnnotation] === undefined
    ? {}
    : { podTemplateHash: annotations[templateAnnotation] }),
  ...(annotations[configAnnotation] === undefined
    ? {}
    : { configHash: annotations[configAnnotation] }),
});

/** Whether all of its processes have ended, by the word of the kubelet. */
export const hasEnded = ({ status }: Pod): boolean =>
  status?.phase === "Failed" || status?.phase === "Succeeded";

export const hasNode = ({ spec }: Pod): boolean => spec.nodeName !== undefined;

export const isPodReady = ({ status }: Pod): boolean =>
  status?.conditions?.some(({ status: is, type }) => type === "Ready" && is === "True") === true;

/** Whether clients are told an address that is not the broker's any more. */
const hasOldAddress = ({ address, pod }: View): boolean =>
  address !== undefined && pod?.metadata.annotations?.[addressAnnotation] !== address;

/**
 * Whether the pod is to be replaced for what the spec says. A pod that was made from something
 * newer is not: what the spec means cannot be made any more.
 */
export const isOutdated = (view: View): boolean => {
  const { broker, pod, renders } = view;
  if (pod === undefined || !hasHashes(renders, broker.spec)) return false;
  return !hasHashes(podHashes(pod), broker.spec) || hasOldAddress(view);
};

export const foundOf = ({ asked }: View): FoundBroker | undefined =>
  asked.type === "asked" ? asked.found : undefined;

/** Whether the cluster was asked, and has never known the broker; nor has the operator. */
export const isUnknown = ({ asked, broker }: View): boolean =>
  asked.type === "asked" && asked.found === undefined && broker.status?.directoryId === undefined;

/** The data directory that is on the volume, as far as it is known. */
export const directoryOf = (view: View): string | undefined =>
  foundOf(view)?.directoryId ?? view.broker.status?.directoryId;

/** Whether somebody else's pod has the name, such as one of an earlier Broker. */
export const isForeign = ({ broker, pod }: View): boolean =>
  pod !== undefined && !isControlledBy(pod, broker);

/** The volume: there, missing, lost with all that was on it, or about to go. */
export const volumeState = ({ claim }: View): "present" | "absent" | "lost" | "leaving" => {
  if (claim === undefined) return "absent";
  if (isBeingDeleted(claim)) return "leaving";
  return claim.status?.phase === "Lost" ? "lost" : "present";
};

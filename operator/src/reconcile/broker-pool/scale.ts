/** From the number of brokers that is wanted to what each of them is wanted for. Pure. */
import type { Broker, BrokerPool } from "../../api/index.ts";
import { conditionOf } from "../outcome.ts";

type Intent = Broker["spec"]["intent"];

export interface ScalePlan {
  /** Brokers that are missing. */
  readonly add: number;
  /** Intents that change, by number. */
  readonly intents: ReadonlyMap<number, Intent>;
}

const idOf = ({ spec }: Broker): number => spec.nodeId;

const byNumber = (a: Broker, b: Broker): number => idOf(a) - idOf(b);

export const isStaying = ({ spec: { intent } }: Broker): boolean =>
  intent === "Active" || intent === "Cordoned";

/** Whether nothing of the cluster needs a broker that is drained any more, by its own word. */
export const isDrained = (broker: Broker): boolean => {
  const { metadata, spec, status } = broker;
  return (
    spec.intent === "Draining" &&
    status?.observedGeneration === metadata.generation &&
    conditionOf(broker, "Ready")?.status === "True"
  );
};

/** The broker that goes first: as the user says, then the one with the highest number. */
const victimOf = (staying: readonly Broker[], named: readonly number[]): Broker | undefined => {
  const first = named.find((id) => staying.some((one) => idOf(one) === id));
  return staying.find((one) => idOf(one) === first) ?? [...staying].sort(byNumber).at(-1);
};

/**
 * `brokers` are those of the pool. One at a time goes, and only once the one before it has gone.
 * One that is drained is taken back where it is wanted again; one that is to be decommissioned is
 * not, since it has nothing any more: another one is added.
 */
export const planScale = (
  { brokersToRemove = [], cordoned, replicas }: BrokerPool["spec"],
  brokers: readonly Broker[],
): ScalePlan => {
  const intents = new Map<number, Intent>();
  const stays: Intent = cordoned === true ? "Cordoned" : "Active";
  const staying = brokers.filter(isStaying);
  for (const one of staying) if (one.spec.intent !== stays) intents.set(idOf(one), stays);
  const draining = brokers.filter(({ spec }) => spec.intent === "Draining").sort(byNumber);
  const back = draining.slice(0, Math.max(0, replicas - staying.length));
  for (const one of back) intents.set(idOf(one), stays);
  for (const one of draining.slice(back.length)) {
    if (isDrained(one)) intents.set(idOf(one), "Decommissioned");
  }
  const isQuiet = staying.length === brokers.length;
  const victim =
    isQuiet && staying.length > replicas ? victimOf(staying, brokersToRemove) : undefined;
  if (victim !== undefined) intents.set(idOf(victim), "Draining");
  return { add: Math.max(0, replicas - staying.length - back.length), intents };
};

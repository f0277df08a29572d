/** `millrace broker cordon`, `drain`, `decommission`, `uncordon`: what is wanted of a broker. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@millrace/client";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { BrokerIntent } from "@millrace/proto/common";
import type { BrokerDescription } from "@millrace/proto/controller";
import type { Command } from "commander";
import { counted, type Io, tell, wholeNumber } from "./io.ts";
import { type ClusterFlags, clusterCommand, withClient } from "./shared.ts";

type Flags = ClusterFlags & Readonly<Record<string, unknown>>;

/** How often a command that waits asks, ms. */
const askMs = 1000;

/** As it is printed. */
export const intentName = (intent: BrokerIntent): string =>
  (BrokerIntent[intent] ?? "unknown").toLowerCase();

const idOf = (text: string): number => wholeNumber("ID", text, 0, 0x7fff_ffff);

/** What is left on a broker, in words. */
export const leftOn = (broker: BrokerDescription): string => {
  const { immovableCount, leftoverCount, removingCount, replicaCount } = broker;
  const parts = [`${counted(replicaCount, "replica")} left`, `${removingCount} of them moving`];
  if (immovableCount > 0) parts.push(`${immovableCount} that no other broker can take`);
  if (leftoverCount > 0) parts.push(`${counted(leftoverCount, "log")} to delete`);
  return parts.join(", ");
};

/** Shows what is left until nothing is, or nothing can move. */
const untilDrained = async (io: Io, client: Client, brokerId: number): Promise<void> => {
  let told = "";
  for (;;) {
    const brokers = await client.admin.describeBrokers();
    const broker = brokers.find((one) => one.brokerId === brokerId);
    if (broker === undefined || broker.intent !== BrokerIntent.DRAINING) {
      const text = `broker ${brokerId} is not drained any more: somebody has changed that`;
      throw new MillraceError(ErrorCode.CANCELLED, text);
    }
    const { immovableCount, leftoverCount, registered, removingCount, replicaCount } = broker;
    const text = leftOn(broker);
    if (text !== told) await tell(io, `broker ${brokerId}: ${text}\n`);
    told = text;
    // The logs of a broker that is down stay where they are.
    if (replicaCount === 0 && (leftoverCount === 0 || !registered)) return;
    if (removingCount === 0 && replicaCount > 0 && immovableCount === replicaCount) {
      throw new MillraceError(
        ErrorCode.REASSIGNMENT_IN_PROGRESS,
        `${counted(immovableCount, "partition")} of broker ${brokerId} cannot move: there are too few active ` +
          "brokers for their replicas: add a broker, or lower their replication factor",
      );
    }
    await sleep(askMs, undefined, { signal: io.signal });
  }
};

interface Wish {
  readonly name: string;
  readonly intent: BrokerIntent;
  readonly description: string;
  /** Said once it is recorded. */
  readonly done: string;
}

const wishes: readonly Wish[] = [
  {
    name: "cordon",
    intent: BrokerIntent.CORDONED,
    description: "Give a broker no new replicas",
    done: "gets no new replicas",
  },
  {
    name: "uncordon",
    intent: BrokerIntent.ACTIVE,
    description: "Have a broker take part in everything again",
    done: "is active",
  },
  {
    name: "drain",
    intent: BrokerIntent.DRAINING,
    description: "Move all replicas of a broker to others",
    done: "is being drained",
  },
  {
    name: "decommission",
    intent: BrokerIntent.DECOMMISSIONED,
    description: "Give up a broker that is drained, with its data directory",
    done: "is decommissioned",
  },
];

const command = (io: Io, { name, intent, description, done }: Wish): Command => {
  const made = clusterCommand(name, description, `millrace broker ${name} 3`).argument("<ID>");
  if (intent === BrokerIntent.DRAINING) {
    made.option("--wait", "wait until nothing is left, and show what is");
  }
  return made.action(async (text: string, flags: Flags) => {
    const id = idOf(text);
    await withClient(io, flags, async (client) => {
      await client.admin.setBrokerIntent({ brokerId: id, intent });
      await tell(io, `broker ${id} ${done}\n`);
      if (flags["wait"] === true) await untilDrained(io, client, id);
    });
  });
};

/** The commands, in order of the help. */
export const intentCommands = (io: Io): Command[] => wishes.map((wish) => command(io, wish));

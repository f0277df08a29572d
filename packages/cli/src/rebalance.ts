/** `millrace rebalance`: plans that give every broker its share, shown before they are begun. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@millrace/client";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { RebalanceState } from "@millrace/proto/common";
import type { DescribeRebalanceResponse, PlanRebalanceResponse } from "@millrace/proto/controller";
import type { Command } from "commander";
import { collect, counted, type Io, tell, wholeNumber } from "./io.ts";
import { planJson, planText, statusJson, statusText, summaryOf } from "./rebalance-text.ts";
import {
  type ClusterFlags,
  clusterCommand,
  commandGroup,
  printDocument,
  withClient,
  withOutput,
} from "./shared.ts";

type Flags = ClusterFlags & Readonly<Record<string, unknown>>;

/** How often a command that waits asks, ms. */
const askMs = 1000;

const queryOf = (id: string | undefined): { readonly rebalanceId?: number } =>
  id === undefined ? {} : { rebalanceId: wholeNumber("ID", id, 1, 0xffff_ffff) };

const showPlan = async (io: Io, flags: Flags, made: PlanRebalanceResponse): Promise<void> => {
  await printDocument(io, String(flags["output"]), planJson(made), () => planText(io, made));
  const { rebalanceId = 0, moveCount = 0 } = made.rebalance ?? {};
  if (moveCount === 0) await tell(io, "nothing to move\n");
  else if (rebalanceId === 0) await tell(io, "dry run: nothing is stored\n");
  else await tell(io, `begin it with: millrace rebalance start ${rebalanceId}\n`);
};

const plan = (io: Io): Command =>
  withOutput(
    clusterCommand(
      "plan",
      "Plan a rebalance, and show each broker before and after",
      "millrace rebalance plan",
    ),
  )
    .option("--moves-per-broker <N>", "moves that a broker takes part in at the same time", "5")
    .option("--exclude-topic <NAME>", "leave a topic where it is; may be repeated", collect)
    .option("--dry-run", "show the plan, store nothing")
    .action(async (flags: Flags) => {
      const movesPerBroker = wholeNumber(
        "--moves-per-broker",
        String(flags["movesPerBroker"]),
        1,
        100,
      );
      const excludedTopics = (flags["excludeTopic"] ?? []) as readonly string[];
      const validateOnly = flags["dryRun"] === true;
      await withClient(io, flags, async (client) => {
        const options = { movesPerBroker, excludedTopics, validateOnly };
        await showPlan(io, flags, await client.admin.rebalances.plan(options));
      });
    });

const isOver = (state: RebalanceState): boolean =>
  ![RebalanceState.REBALANCING, RebalanceState.PAUSED, RebalanceState.ABORTING].includes(state);

/** Shows what is left until the plan is over. Throws where that is not as it was meant. */
const untilOver = async (io: Io, client: Client, rebalanceId: number): Promise<void> => {
  let told = "";
  for (;;) {
    const described = await client.admin.rebalances.describe({ rebalanceId });
    const { state = RebalanceState.UNSPECIFIED } = described.rebalance ?? {};
    const text = summaryOf(described);
    if (text !== told) await tell(io, `${text}\n`);
    told = text;
    if (state === RebalanceState.COMPLETED) return checkSkipped(described);
    if (isOver(state)) {
      const why = `rebalance ${rebalanceId} is over before its end: see millrace rebalance status`;
      throw new MillraceError(ErrorCode.CANCELLED, why);
    }
    await sleep(askMs, undefined, { signal: io.signal });
  }
};

const checkSkipped = ({ rebalance }: DescribeRebalanceResponse): void => {
  const { skippedCount = 0, rebalanceId = 0 } = rebalance ?? {};
  if (skippedCount === 0) return;
  const what = `${counted(skippedCount, "move")} of rebalance ${rebalanceId}`;
  const why = `${what} did not fit any more: see millrace rebalance status, and plan again`;
  throw new MillraceError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, why);
};

const start = (io: Io): Command =>
  clusterCommand("start", "Begin the plan that waits, or another one", "millrace rebalance start")
    .argument("[ID]")
    .option("--wait", "wait until it is over, and show how far it is")
    .action(async (id: string | undefined, flags: Flags) => {
      const query = queryOf(id);
      await withClient(io, flags, async (client) => {
        const { rebalanceId } = await client.admin.rebalances.start(query);
        await tell(io, `rebalance ${rebalanceId} is under way\n`);
        if (flags["wait"] === true) await untilOver(io, client, rebalanceId);
      });
    });

const status = (io: Io): Command =>
  withOutput(clusterCommand("status", "Show how far a rebalance is", "millrace rebalance status"))
    .argument("[ID]")
    .action(async (id: string | undefined, flags: Flags) => {
      const query = queryOf(id);
      await withClient(io, flags, async (client) => {
        const described = await client.admin.rebalances.describe(query);
        const output = String(flags["output"]);
        await printDocument(io, output, statusJson(described), () => statusText(io, described));
      });
    });

type Action = "pause" | "resume" | "abort";

const actions: Readonly<Record<Action, readonly [description: string, done: string]>> = {
  pause: ["Begin no more moves; those under way go on", "is paused"],
  resume: ["Go on after a pause", "goes on"],
  abort: ["End a rebalance: take back the moves under way, keep those made", "is being ended"],
};

const act = (io: Io, name: Action): Command => {
  const [description, done] = actions[name];
  return clusterCommand(name, description, `millrace rebalance ${name}`)
    .argument("[ID]")
    .action(async (id: string | undefined, flags: Flags) => {
      const query = queryOf(id);
      await withClient(io, flags, async (client) => {
        const { rebalanceId, state } = await client.admin.rebalances[name](query);
        const said = state === RebalanceState.ABORTED ? "is given up" : done;
        await tell(io, `rebalance ${rebalanceId} ${said}\n`);
      });
    });
};

export const rebalanceGroup = (io: Io): Command => {
  const group = commandGroup(
    "rebalance",
    "Plan and carry out moves that give every broker its share",
    "millrace rebalance plan",
  );
  for (const one of [plan(io), start(io), status(io)]) group.addCommand(one);
  for (const name of ["pause", "resume", "abort"] as const) group.addCommand(act(io, name));
  return group;
};

/** `millrace maintenance …`: who may take which broker down. */
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@millrace/client";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { MaintenanceKind } from "@millrace/proto/common";
import {
  type AcquireMaintenanceResponse,
  type BrokerDescription,
  type MaintenanceBlocker,
  MaintenanceBlockerReason,
  type MaintenanceLease,
} from "@millrace/proto/controller";
import type { Command } from "commander";
import { counted, type Io, tell, UsageError, wholeNumber } from "./io.ts";
import {
  type ClusterFlags,
  clusterCommand,
  commandGroup,
  print,
  withClient,
  withOutput,
} from "./shared.ts";

type Flags = ClusterFlags & Readonly<Record<string, unknown>>;

/** How often a command that waits asks, ms. */
const askMs = 1000;

const kinds = new Map<string, MaintenanceKind>([
  ["restart", MaintenanceKind.RESTART],
  ["drain", MaintenanceKind.DRAIN],
  ["replace-disk", MaintenanceKind.REPLACE_DISK],
  ["remove", MaintenanceKind.REMOVE],
]);

/** As it is printed, and given. */
export const kindName = (kind: MaintenanceKind): string =>
  (MaintenanceKind[kind] ?? "unknown").toLowerCase().replaceAll("_", "-");

const idOf = (text: string): number => wholeNumber("ID", text, 0, 0x7fff_ffff);

/** What is left of a lease, in words. */
export const leftOf = ({ expiresInMs }: MaintenanceLease): string =>
  expiresInMs === 0 ? "run out" : `${Math.ceil(expiresInMs / 1000)} s left`;

/** A lease as scripts read it. */
export const printableLease = (lease: MaintenanceLease) => ({
  ...{ broker_id: lease.brokerId, kind: kindName(lease.kind), holder: lease.holder },
  ...{ reason: lease.reason, token: lease.token, broker_epoch: lease.brokerEpoch },
  ...{ directory_id: lease.directoryId, ttl_ms: lease.ttlMs, expires_in_ms: lease.expiresInMs },
  granted_at_ms: lease.grantedAtMs,
});

const printableBlocker = ({ brokerId, message, partition, reason, topic }: MaintenanceBlocker) => ({
  ...{ reason: (MaintenanceBlockerReason[reason] ?? "unknown").toLowerCase(), message },
  ...(topic === "" ? {} : { topic, partition }),
  ...(brokerId === undefined ? {} : { broker_id: brokerId }),
});

const bytesOf = (text: string): Uint8Array => {
  if (/^[0-9a-f]{32}$/i.test(text)) return Buffer.from(text, "hex");
  throw new UsageError(`--directory ${JSON.stringify(text)}: give the 32 hex digits of its id`);
};

/** The error of a command that something is in the way of; the rest is told before. */
const blocked = (brokerId: number, blockers: readonly MaintenanceBlocker[], count: number) => {
  const [first] = blockers;
  const more = count > 1 ? ` (and ${counted(count - 1, "other")}: see stderr)` : "";
  const what = first?.message ?? "it is not said what";
  const text = `maintenance of broker ${brokerId} has to wait: ${what}${more}`;
  return new MillraceError(ErrorCode.MAINTENANCE_BLOCKED, text);
};

const tellBlockers = async (
  io: Io,
  blockers: readonly MaintenanceBlocker[],
  count: number,
): Promise<void> => {
  for (const { message } of blockers) await tell(io, `${message}\n`);
  if (count > blockers.length) await tell(io, `and ${count - blockers.length} more\n`);
};

const describe = async (client: Client, id: number): Promise<BrokerDescription | undefined> =>
  (await client.admin.describeBrokers()).find(({ brokerId }) => brokerId === id);

const wishOf = async (client: Client, brokerId: number, flags: Flags) => {
  const kind = kinds.get(String(flags["kind"])) ?? MaintenanceKind.UNSPECIFIED;
  const deletes = kind === MaintenanceKind.REPLACE_DISK || kind === MaintenanceKind.REMOVE;
  const broker = await describe(client, brokerId);
  const given = flags["directory"];
  const directoryId = given === undefined ? broker?.directoryId : bytesOf(String(given));
  if (deletes && (directoryId === undefined || directoryId.length === 0)) {
    throw new UsageError(
      `--directory is missing: broker ${brokerId} is down, and its data directory is not known: ` +
        "give its id",
    );
  }
  const brokerEpoch = broker?.brokerEpoch ?? 0n;
  return {
    ...{ brokerId, kind, holder: String(flags["holder"]), reason: String(flags["reason"] ?? "") },
    ...(kind === MaintenanceKind.RESTART ? { brokerEpoch } : {}),
    ...(deletes && directoryId !== undefined ? { directoryId } : {}),
    ttlMs: wholeNumber("--ttl", String(flags["ttl"]), 1, 3600) * 1000,
    ...{ allowUnavailable: flags["allowUnavailable"] === true },
    validateOnly: flags["dryRun"] === true,
  };
};

/** Asks once, or until nothing is in the way; tells what is whenever that changes. */
const ask = async (io: Io, client: Client, id: number, flags: Flags) => {
  let told = "";
  for (;;) {
    const answer = await client.admin.acquireMaintenance(await wishOf(client, id, flags));
    const { blockerCount, blockers } = answer;
    if (answer.mayAct) return answer;
    const text = blockers.map(({ message }) => message).join("\n");
    if (text !== told) await tellBlockers(io, blockers, blockerCount);
    told = text;
    if (flags["wait"] !== true) throw blocked(id, blockers, blockerCount);
    await sleep(askMs, undefined, { signal: io.signal });
  }
};

const told = async (io: Io, flags: Flags, id: number, answer: AcquireMaintenanceResponse) => {
  const { lease, unavailable, unavailableCount } = answer;
  const json = {
    ...{ may_act: answer.mayAct, lease: lease === undefined ? null : printableLease(lease) },
    unavailable: unavailable.map(printableBlocker),
  };
  await tellBlockers(io, unavailable, unavailableCount);
  const row = lease && [id, kindName(lease.kind), lease.holder, lease.token, leftOf(lease)];
  const head = ["ID", "KIND", "HOLDER", "TOKEN", "LEFT"];
  if (row === undefined && flags["output"] !== "json") {
    await tell(io, `maintenance of broker ${id} would be allowed now\n`);
  } else await print(io, String(flags["output"]), json, head, row === undefined ? [] : [row]);
};

const acquire = (io: Io): Command =>
  withOutput(
    clusterCommand(
      "acquire",
      "Ask for the right to take a broker down",
      "millrace maintenance acquire 3 --kind restart --reason 'new kernel'",
    ),
  )
    .argument("<ID>")
    .requiredOption("--kind <KIND>", "restart, drain, replace-disk or remove")
    .option("--holder <NAME>", "who holds it; nobody else uses the same", `cli@${hostname()}`)
    .option("--reason <TEXT>", "why")
    .option("--ttl <SECONDS>", "over without a renewal for so long", "60")
    .option("--directory <ID>", "data directory to delete, 32 hex digits; default: the broker's")
    .option("--allow-unavailable", "let partitions down that can never spare a replica")
    .option("--wait", "wait until nothing is in the way")
    .option("--dry-run", "check everything, change nothing")
    .action(async (text: string, flags: Flags) => {
      const id = idOf(text);
      if (!kinds.has(String(flags["kind"]))) {
        const names = [...kinds.keys()].join(", ");
        throw new UsageError(`--kind ${JSON.stringify(flags["kind"])}: use one of ${names}`);
      }
      await withClient(io, flags, async (client) => {
        await told(io, flags, id, await ask(io, client, id, flags));
      });
    });

const tokenOf = (flags: Flags): bigint => {
  const max = Number.MAX_SAFE_INTEGER;
  return BigInt(wholeNumber("--token", String(flags["token"]), 0, max));
};

const renew = (io: Io): Command =>
  withOutput(
    clusterCommand(
      "renew",
      "Keep a lease, and ask whether to go on",
      "millrace maintenance renew 3 --token 1234",
    ),
  )
    .argument("<ID>")
    .requiredOption("--token <TOKEN>", "of the lease")
    .action(async (text: string, flags: Flags) => {
      const brokerId = idOf(text);
      const token = tokenOf(flags);
      await withClient(io, flags, async (client) => {
        const answer = await client.admin.renewMaintenance({ brokerId, token });
        const { blockerCount, blockers, lease } = answer;
        if (!answer.mayAct) {
          await tellBlockers(io, blockers, blockerCount);
          throw blocked(brokerId, blockers, blockerCount);
        }
        if (lease === undefined) return;
        const row = [brokerId, kindName(lease.kind), lease.holder, lease.token, leftOf(lease)];
        const head = ["ID", "KIND", "HOLDER", "TOKEN", "LEFT"];
        await print(io, String(flags["output"]), printableLease(lease), head, [row]);
      });
    });

const release = (io: Io): Command =>
  clusterCommand(
    "release",
    "Give back a lease, once the broker is back",
    "millrace maintenance release 3 --token 1234 --wait",
  )
    .argument("<ID>")
    .option("--token <TOKEN>", "of the lease")
    .option("--force", "whoever holds it, and whether or not the broker is back")
    .option("--wait", "wait until the broker is back")
    .action(async (text: string, flags: Flags) => {
      const brokerId = idOf(text);
      const isForced = flags["force"] === true;
      if (isForced === (flags["token"] !== undefined)) {
        throw new UsageError("give one of --token and --force");
      }
      const which = isForced
        ? { brokerId, force: true as const }
        : { brokerId, token: tokenOf(flags) };
      await withClient(io, flags, async (client) => {
        for (;;) {
          const answer = await client.admin.releaseMaintenance(which);
          const { blockerCount, blockers, released } = answer;
          if (released) break;
          if (flags["wait"] !== true) {
            await tellBlockers(io, blockers, blockerCount);
            throw blocked(brokerId, blockers, blockerCount);
          }
          await sleep(askMs, undefined, { signal: io.signal });
        }
        await tell(io, `the maintenance lease of broker ${brokerId} is released\n`);
      });
    });

const list = (io: Io): Command =>
  withOutput(clusterCommand("list", "List maintenance leases", "millrace maintenance list")).action(
    async (flags: Flags) => {
      await withClient(io, flags, async (client) => {
        const leases = await client.admin.listMaintenance();
        const rows = leases.map((lease) => [
          ...[lease.brokerId, kindName(lease.kind), lease.holder, lease.token, leftOf(lease)],
          lease.reason || "-",
        ]);
        const head = ["ID", "KIND", "HOLDER", "TOKEN", "LEFT", "REASON"];
        await print(io, String(flags["output"]), leases.map(printableLease), head, rows);
      });
    },
  );

export const maintenanceGroup = (io: Io): Command => {
  const group = commandGroup(
    "maintenance",
    "Ask before a broker is taken down, and say when it is back",
    "millrace maintenance acquire 3 --kind restart",
  );
  for (const one of [list(io), acquire(io), renew(io), release(io)]) group.addCommand(one);
  return group;
};

/**
 * Starts what makes a process a controller, and a registered broker: who leads what is decided
 * before the broker looks at it for the first time.
 */
import { register } from "@millrace/broker/process";
import type { ControllerMetrics, ControllerProcess } from "@millrace/controller";
import { campaign } from "@millrace/controller/process";
import type { Env } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { MetadataStore, Mirror, Registration } from "@millrace/metadata";
import type { Dialer } from "@millrace/rpc";
import type { Undo } from "@millrace/server";

export interface StartedController {
  readonly active: ControllerProcess;
  readonly registration: Registration;
}

/**
 * Longest wait until this process is elected and every leader is decided, ms. The lease of a
 * process that was killed may have to end first.
 */
const settleTimeoutMs = 60_000;

/**
 * Registers the broker and takes part in the election. A process that is alone is elected when this
 * resolves, and has given every partition that the broker leads a new leader epoch, for the
 * registration has a new broker epoch. The addresses are not known yet.
 */
export const startController = async (
  options: {
    readonly env: Env;
    readonly store: MetadataStore;
    readonly mirror: Mirror;
    /** Reaches the other brokers. */
    readonly dialer: Dialer;
    readonly brokerId: number;
    readonly directoryId: Uint8Array;
    readonly alone: boolean;
    readonly metrics?: ControllerMetrics;
  },
  undo: Undo,
): Promise<StartedController> => {
  const { env, store, mirror, dialer, brokerId, directoryId, alone, metrics } = options;
  const registration = await register({ env, store, brokerId, directoryId }, undo);
  const active = campaign(
    {
      ...{ env, store, mirror, dialer, controllerId: brokerId },
      ...(metrics === undefined ? {} : { metrics }),
    },
    undo,
  );
  if (alone && !(await active.settled(registration.epoch, settleTimeoutMs))) {
    throw new MillraceError(
      ErrorCode.UNAVAILABLE,
      `the leaders of the partitions were not decided within ${settleTimeoutMs} ms: ` +
        "check the metadata store, and that no other process uses it",
    );
  }
  return { active, registration };
};

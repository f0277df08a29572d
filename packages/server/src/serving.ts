/** Tells probes and the shell around a process that it serves, and that it stops. */
import type { HealthState } from "@millrace/rpc";
import type { Services } from "./listen.ts";
import type { Undo } from "./undo.ts";

/** From now on the process and each of its services are healthy, until the stop. */
export const beginServing = (
  health: HealthState,
  services: Services,
  onServing: ((serving: boolean) => void) | undefined,
  undo: Undo,
): void => {
  const names = [...services.client, ...services.internal].map(({ desc }) => desc.typeName);
  const tell = (serving: boolean): void => {
    onServing?.(serving);
    for (const name of ["", ...names]) health.set(name, serving);
  };
  tell(true);
  undo.add(() => tell(false));
};

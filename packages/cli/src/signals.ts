/** Signals of the process, as one `AbortSignal`. */
import { Interrupted } from "./io.ts";

/** Exit codes by signal: 128 and the signal's number. */
const exitCodes = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** Aborted by the first signal. The second signal ends the process at once. */
export const interruptSignal = (): AbortSignal => {
  const controller = new AbortController();
  for (const [name, exitCode] of Object.entries(exitCodes)) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(exitCode);
      controller.abort(new Interrupted(exitCode));
    });
  }
  return controller.signal;
};

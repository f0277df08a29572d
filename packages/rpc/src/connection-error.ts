/** Why a connection could not be made, or broke. */
import { MillraceError } from "@millrace/errors";

/**
 * `refused`: the machine answered that nothing listens there, so the process is dead. `reset`: the
 * other side, or something between, broke the connection. `closed`: the other side closed it.
 * `silent`: nothing was heard for too long; the process may live.
 */
export type ConnectionTrouble = "refused" | "reset" | "closed" | "silent";

/** The cause of an UNAVAILABLE for which no server answered. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
  readonly trouble: ConnectionTrouble;

  constructor(trouble: ConnectionTrouble, message: string) {
    super(message);
    this.trouble = trouble;
  }
}

/**
 * True when a call failed because the machine refused its connection: no process listens there.
 * Silence is not refusal.
 */
export const isConnectionRefused = (thrown: unknown): boolean =>
  thrown instanceof MillraceError &&
  thrown.cause instanceof ConnectionError &&
  thrown.cause.trouble === "refused";

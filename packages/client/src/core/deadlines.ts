/** How long a leader may be silent before the client leaves it. */

/**
 * Longest wait for a leader: for the opening of a stream, the answer to a batch, or one attempt of
 * a call. Timers that look once a second still leave the leader within ten seconds, milliseconds.
 */
export const leaderSilentMs = 9_000;

/**
 * Silence after which a leader that was replaced is left, milliseconds. Shorter than the controller
 * waits for a broker that hangs; a leader that is well takes less to say that it is none.
 */
export const replacedSilentMs = 3_000;

/**
 * Silence of a leader after which its word on who leads is not relied on any more, milliseconds:
 * just before the controller would replace one that hangs.
 */
export const suspectMs = 4_000;

/** Heartbeats are jittered by up to half of their interval. */
const jitter = 1.5;
/** Least patience beyond the latest heartbeat that is in time, milliseconds. */
const lateMs = 1_000;

/**
 * Silence after which the server of a fetch stream counts as dead, milliseconds: three heartbeats,
 * but no longer than other leaders are waited for unless heartbeats may be rarer than that.
 */
export const fetchSilentMs = (heartbeatIntervalMs: number): number =>
  Math.max(
    Math.min(3 * heartbeatIntervalMs, leaderSilentMs),
    jitter * heartbeatIntervalMs + Math.min(lateMs, heartbeatIntervalMs),
  );

/** Silence after which a heartbeat is overdue, milliseconds. */
export const overdueMs = (heartbeatIntervalMs: number): number => jitter * heartbeatIntervalMs;

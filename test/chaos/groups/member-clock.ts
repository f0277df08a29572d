/** The monotonic clock of the machine, which all processes of a run share, ms. */
export const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6;

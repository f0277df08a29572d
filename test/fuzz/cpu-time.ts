/**
 * CPU time of this process, milliseconds: how long an input takes, also where the machine is busy
 * or stands still.
 */
export const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

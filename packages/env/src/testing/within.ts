/**
 * What a promise becomes. Rejects after `ms`, with `what` the test waited for: a test that fails
 * must not hang.
 */
export const within = async <T>(promise: Promise<T>, what: string, ms = 3_000): Promise<T> => {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no ${what} within ${ms} ms`)), ms);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
};

/** What the tests of `apart.ts` call. */
let calls = 0;

export const sum = async (a: number, b: number): Promise<number> => a + b;

export const counted = (): Map<string, number> => {
  calls += 1;
  return new Map([["calls", calls]]);
};

export const fails = (message: string): never => {
  throw new Error(message);
};

export const ends = async (): Promise<void> => {
  process.exit(3);
};

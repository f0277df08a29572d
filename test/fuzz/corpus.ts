/** Inputs that were findings once, by target, replayed before anything else. */
const inputs: Readonly<Record<string, readonly string[]>> = {};

export const corpus: Readonly<Record<string, readonly Buffer[]>> = Object.fromEntries(
  Object.entries(inputs).map(([name, lines]) => [
    name,
    lines.map((hex) => Buffer.from(hex, "hex")),
  ]),
);

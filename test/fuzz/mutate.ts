/** Seeded damage: what a broken client, disk or attacker makes of valid bytes. */
import type { SeededRandom } from "@millrace/sim";

/** Numbers at which decoders go wrong. */
const edges = [0, 1, 0x7f, 0x80, 0xff, 0x7fffffff, 0x80000000, 0xffffffff];

type Mutator = (input: Buffer, dice: SeededRandom, other: Buffer) => Buffer;

const at = (input: Buffer, dice: SeededRandom): number => dice.below(Math.max(1, input.length));

const mutators: readonly Mutator[] = [
  // One bit.
  (input, dice) => {
    if (input.length === 0) return input;
    const i = at(input, dice);
    input[i] = (input[i] ?? 0) ^ (1 << dice.below(8));
    return input;
  },
  // One byte, to an edge.
  (input, dice) => {
    if (input.length > 0) input[at(input, dice)] = (edges[dice.below(edges.length)] ?? 0) & 0xff;
    return input;
  },
  (input, dice) => input.subarray(0, dice.below(input.length + 1)),
  // A splice of two inputs.
  (input, dice, other) =>
    Buffer.concat([
      input.subarray(0, dice.below(input.length + 1)),
      other.subarray(dice.below(other.length + 1)),
    ]),
  // A varint stretched with redundant groups, or made endless.
  (input, dice) => {
    const i = at(input, dice);
    const groups = Buffer.alloc(1 + dice.below(12), 0x80);
    return Buffer.concat([input.subarray(0, i), groups, input.subarray(i)]);
  },
  // A length that lies: four bytes little-endian, as headers have them.
  (input, dice) => {
    if (input.length < 4) return input;
    input.writeUInt32LE(edges[dice.below(edges.length)] ?? 0, dice.below(input.length - 3));
    return input;
  },
  // A piece repeated.
  (input, dice) => {
    const start = dice.below(input.length + 1);
    const piece = input.subarray(start, start + dice.below(16));
    return Buffer.concat([
      input.subarray(0, start),
      ...Array.from({ length: 1 + dice.below(8) }, () => piece),
      input.subarray(start),
    ]);
  },
  // A tag of any field and wire type.
  (input, dice) => {
    const i = at(input, dice);
    return Buffer.concat([input.subarray(0, i), Buffer.from([dice.below(256)]), input.subarray(i)]);
  },
];

/** One to four mutations of a copy of `input`; sometimes nothing but noise. */
export const mutate = (input: Buffer, other: Buffer, dice: SeededRandom): Buffer => {
  if (dice.below(20) === 0) {
    return Buffer.from(Array.from({ length: dice.below(64) }, () => dice.below(256)));
  }
  let bytes: Buffer = Buffer.from(input);
  for (let i = 1 + dice.below(4); i > 0; i -= 1) {
    bytes = mutators[dice.below(mutators.length)]?.(bytes, dice, other) ?? bytes;
    if (bytes.length > 64 * 1024) bytes = bytes.subarray(0, 64 * 1024);
  }
  return bytes;
};

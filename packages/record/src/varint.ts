/** Protobuf varints of safe non-negative integers. */

/** Bytes that the minimal varint takes. */
export const varintBytes = (value: number): number => {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < 0x1000_0000) return 4;
  let bytes = 5;
  for (let rest = Math.floor(value / 0x8_0000_0000); rest > 0; rest = Math.floor(rest / 128)) {
    bytes += 1;
  }
  return bytes;
};

/** Writes the minimal varint at `at`; returns the position after it. */
export const writeVarint = (target: Uint8Array, at: number, value: number): number => {
  let rest = value;
  let position = at;
  while (rest > 0x7fff_ffff) {
    target[position++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  while (rest > 0x7f) {
    target[position++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[position] = rest;
  return position + 1;
};

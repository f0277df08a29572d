/** Sizes of volumes as Kubernetes writes them. Pure. */

const units: Readonly<Record<string, bigint>> = {
  ...{ "": 1n, k: 10n ** 3n, M: 10n ** 6n, G: 10n ** 9n, T: 10n ** 12n, P: 10n ** 15n },
  ...{ Ki: 2n ** 10n, Mi: 2n ** 20n, Gi: 2n ** 30n, Ti: 2n ** 40n, Pi: 2n ** 50n },
};

/** Undefined for what is no whole number of bytes. */
export const bytesOf = (quantity: string): bigint | undefined => {
  const [, digits = "", unit = ""] = /^([0-9]+)([kMGTP]?i?)$/.exec(quantity) ?? [];
  const factor = units[unit];
  return digits === "" || factor === undefined ? undefined : BigInt(digits) * factor;
};

/**
 * The size to ask for: a volume that somebody has made larger stays so, and the same size in other
 * words is no change.
 */
export const sizeToAsk = (wanted: string, asked: string | undefined): string => {
  const [to, from] = [bytesOf(wanted), asked === undefined ? undefined : bytesOf(asked)];
  if (asked === undefined || to === undefined || from === undefined) return wanted;
  return to > from ? wanted : asked;
};
